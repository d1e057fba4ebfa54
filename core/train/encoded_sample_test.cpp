#include "core/train/encoded_sample.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace t2i {
namespace {

// Through the bytes of a file and back.
Tensors there_and_back(const Tensors& tensors, size_t& bytes) {
  const StoredForm form = stored_form(tensors);
  std::vector<std::byte> file;
  stream_safetensors(form.sources, form.metadata, [&](Bytes piece) { file.insert(file.end(), piece.begin(), piece.end()); });
  bytes = file.size();
  return from_stored(file, "cache.data").take();
}

void expect_same_bits(const at::Tensor& a, const at::Tensor& b) {
  ASSERT_EQ(a.sizes(), b.sizes());
  EXPECT_TRUE(at::equal(a.contiguous().view(at::kInt), b.contiguous().view(at::kInt)));
}

TEST(EncodedSample, ComesBackBitForBit) {
  at::manual_seed(1);
  Tensors in = {{"mean", at::randn({1, 4, 8, 8})}, {"logvar", at::randn({1, 4, 8, 8}).mul(1e-30)}, {"pooled", at::randn({1, 32})}};
  in["mean"][0][0][0][0] = -0.0f;
  in["mean"][0][0][0][1] = std::nanf("");
  size_t bytes = 0;
  const Tensors out = there_and_back(in, bytes);
  ASSERT_EQ(out.size(), in.size());
  for (const auto& [name, t] : in) expect_same_bits(out.at(name), t);
}

TEST(EncodedSample, WhatAnEncoderInHalfPrecisionMakesTakesHalf) {
  for (at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    const Tensors in = {{"mean", at::randn({1, 16, 32, 32}).to(type).to(at::kFloat)}};
    size_t bytes = 0;
    expect_same_bits(there_and_back(in, bytes).at("mean"), in.at("mean"));
    EXPECT_LT(bytes, in.at("mean").nbytes() / 2 + 512);
  }
}

// As a family has it that sets texts of one width beside those of a larger one, and goes without the second encoder.
TEST(EncodedSample, ZerosThatFillUpAreNotStored) {
  at::Tensor text = at::zeros({1, 333, 128});
  text.narrow(1, 0, 77).narrow(2, 0, 64).copy_(at::randn({1, 77, 64}));
  size_t bytes = 0;
  expect_same_bits(there_and_back({{"prompt_embeds", text}}, bytes).at("prompt_embeds"), text);
  EXPECT_LT(bytes, 77 * 64 * sizeof(float) + 512);
  text.narrow(1, 77, 256).copy_(at::randn({1, 256, 128}));
  expect_same_bits(there_and_back({{"prompt_embeds", text}}, bytes).at("prompt_embeds"), text);
  EXPECT_LT(bytes, (77 * 64 + 256 * 128) * sizeof(float) + 512);
  const at::Tensor nothing = at::zeros({1, 4, 8});
  expect_same_bits(there_and_back({{"prompt_embeds", nothing}}, bytes).at("prompt_embeds"), nothing);
  expect_same_bits(there_and_back({{"prompt_embeds", nothing.neg()}}, bytes).at("prompt_embeds"), nothing.neg());
}

TEST(EncodedSample, OtherBytesAreAnError) {
  const std::string text = "no tensors";
  auto read = from_stored(as_bytes(text), "cache.data");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().id, "E8071");
}

}  // namespace
}  // namespace t2i
