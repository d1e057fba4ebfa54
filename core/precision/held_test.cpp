#include "core/precision/held.h"

#include <gtest/gtest.h>

using namespace t2i;

namespace {

const at::Device cpu(at::kCPU), gpu(at::kCUDA);
const Json anything = {{"role", "vae"}}, wide = {{"dtypes", {"float32", "bfloat16"}}};
const Json float32_unless_asked = {{"dtypes", {"float32", "bfloat16"}}, {"auto_dtype", "float32"}};

at::ScalarType held(const std::string& asked, const std::string& mixed, at::Device device, const Json& part) {
  return held_type(asked, mixed, device, part).type;
}

}  // namespace

TEST(HeldType, AutoIsTheMixedPrecisionOnAGpuAlone) {
  EXPECT_EQ(held("auto", "bf16", gpu, anything), at::kBFloat16);
  EXPECT_EQ(held("auto", "fp16", gpu, anything), at::kHalf);
  EXPECT_EQ(held("auto", "no", gpu, anything), at::kFloat);
  EXPECT_EQ(held("auto", "bf16", cpu, anything), at::kFloat);
}

TEST(HeldType, WhatAPartIsNotMadeForIsFloat32AndSaidWhereItWasAskedFor) {
  EXPECT_EQ(held("auto", "fp16", gpu, wide), at::kFloat);
  EXPECT_EQ(held_type("auto", "fp16", gpu, wide).refused, "");
  EXPECT_EQ(held("auto", "bf16", gpu, wide), at::kBFloat16);
  EXPECT_EQ(held("float16", "bf16", cpu, wide), at::kFloat);
  EXPECT_EQ(held_type("float16", "bf16", cpu, wide).refused, "float16");
}

TEST(HeldType, ATypeThatWasAskedForIsTakenWhereThePartIsMadeForIt) {
  EXPECT_EQ(held_type(at::kHalf, anything).type, at::kHalf);
  EXPECT_EQ(held_type(at::kHalf, wide).type, at::kFloat);
  EXPECT_EQ(held_type(at::kHalf, wide).refused, "float16");
  EXPECT_EQ(held_type(at::kBFloat16, wide).type, at::kBFloat16);
  EXPECT_EQ(held_type(at::kFloat, wide).refused, "");
}

TEST(HeldType, BesideWhatIsTrainedAutoTakesWhatItFinds) {
  auto beside = [](const std::string& asked, const std::string& mixed, at::Device device, std::optional<at::ScalarType> stored) {
    return held_type_beside_trained(asked, mixed, device, anything, stored).type;
  };
  for (at::ScalarType type : {at::kBFloat16, at::kHalf, at::kFloat}) {
    EXPECT_EQ(beside("auto", "bf16", cpu, type), type);
    EXPECT_EQ(beside("auto", "no", gpu, type), type);
    EXPECT_EQ(beside("auto", "bf16", gpu, type), at::kBFloat16);
    EXPECT_EQ(beside("float32", "bf16", cpu, type), at::kFloat);
    EXPECT_EQ(beside("float16", "no", cpu, type), at::kHalf);
  }
  EXPECT_EQ(beside("auto", "bf16", cpu, std::nullopt), at::kFloat);
  EXPECT_EQ(beside("auto", "bf16", cpu, at::kDouble), at::kFloat);
  EXPECT_EQ(beside("auto", "no", cpu, at::kFloat8_e4m3fn), at::kBFloat16);
}

TEST(HeldType, APartMayWantFloat32WhateverIsTrainedIn) {
  for (const char* mixed : {"no", "fp32", "fp16", "bf16"})
    EXPECT_EQ(held("auto", mixed, gpu, float32_unless_asked), at::kFloat) << mixed;
  EXPECT_EQ(held("bfloat16", "no", gpu, float32_unless_asked), at::kBFloat16);
  EXPECT_EQ(held("bfloat16", "no", cpu, float32_unless_asked), at::kBFloat16);
}
