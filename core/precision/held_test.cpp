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

TEST(HeldType, APartMayWantFloat32WhateverIsTrainedIn) {
  for (const char* mixed : {"no", "fp32", "fp16", "bf16"})
    EXPECT_EQ(held("auto", mixed, gpu, float32_unless_asked), at::kFloat) << mixed;
  EXPECT_EQ(held("bfloat16", "no", gpu, float32_unless_asked), at::kBFloat16);
  EXPECT_EQ(held("bfloat16", "no", cpu, float32_unless_asked), at::kBFloat16);
}
