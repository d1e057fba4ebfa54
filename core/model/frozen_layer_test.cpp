// Layers over packed weights, and over ones held in a lower type, against ATen's over the numbers that these stand for:
// results, gradients, and what is kept.
#include "core/model/frozen_layer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/kernel/rounded.h"
#include "core/precision/autocast.h"

namespace t2i {
namespace {

std::shared_ptr<const PackedWeight> packed(at::IntArrayRef shape, PackedWeight::Form form) {
  return std::make_shared<const PackedWeight>(pack(at::randn(shape), form));
}

FrozenWeight held(const std::shared_ptr<const PackedWeight>& weight) { return {weight->shape, {}, weight, nullptr}; }
FrozenWeight held(const at::Tensor& weight) { return {weight.sizes().vec(), weight, nullptr, nullptr}; }

at::Tensor leaf(at::IntArrayRef shape) { return at::randn(shape).requires_grad_(true); }

at::Tensor gradient(const at::Tensor& y, const at::Tensor& of) {
  return torch::autograd::grad({(y.to(at::kFloat) * at::arange(y.numel()).view(y.sizes())).sum()}, {of}, {}, true)[0];
}

// Other kernels, other orders of sums.
void expect_near(const at::Tensor& a, const at::Tensor& b, double tolerance = 1e-5) {
  ASSERT_EQ(a.sizes(), b.sizes());
  EXPECT_LE((a - b).abs().max().item<double>(), tolerance * b.abs().max().item<double>());
}

}  // namespace

TEST(FrozenLayer, Linear) {
  at::manual_seed(1);
  for (auto form : {PackedWeight::Form::nf4, PackedWeight::Form::int8})
    for (bool with_bias : {false, true}) {
      auto weight = packed({10, 14}, form);
      at::Tensor x = leaf({2, 3, 14}), bias = leaf({10}), plain = unpacked(*weight, at::kFloat);
      std::optional<at::Tensor> b = with_bias ? std::optional(bias) : std::nullopt;
      at::Tensor mine = frozen_linear(x, held(weight), b), theirs = at::linear(x, plain, b);
      expect_near(mine, theirs);
      expect_near(gradient(mine, x), gradient(theirs, x));
      if (with_bias) expect_near(gradient(mine, bias), gradient(theirs, bias));
    }
}

TEST(FrozenLayer, Conv2d) {
  at::manual_seed(2);
  for (ConvShape s : {ConvShape{1, 1, 1, 1}, ConvShape{2, 1, 1, 1}, ConvShape{1, 2, 2, 1}, ConvShape{1, 1, 1, 2}}) {
    auto weight = packed({6, 8 / s.groups, 3, 3}, PackedWeight::Form::nf4);
    at::Tensor x = leaf({2, 8, 7, 5}), bias = leaf({6}), plain = unpacked(*weight, at::kFloat);
    at::Tensor mine = frozen_conv2d(x, held(weight), bias, s);
    at::Tensor theirs = at::conv2d(x, plain, bias, s.stride, s.padding, s.dilation, s.groups);
    expect_near(mine, theirs);
    expect_near(gradient(mine, x), gradient(theirs, x));
    expect_near(gradient(mine, bias), gradient(theirs, bias));
  }
}

TEST(FrozenLayer, AutocastAndProcessorsWithoutBfloat16) {
  at::manual_seed(3);
  auto weight = packed({16, 64}, PackedWeight::Form::nf4);
  at::Tensor x = leaf({5, 64}), bias = leaf({16});
  auto both = [&] {
    Autocast lower(at::kCPU, at::kBFloat16);
    return std::pair(frozen_linear(x, held(weight), bias), at::linear(x, unpacked(*weight, at::kBFloat16), bias));
  };
  auto check = [&] {
    auto [mine, theirs] = both();
    EXPECT_EQ(mine.scalar_type(), at::kBFloat16);
    expect_near(mine.to(at::kFloat), theirs.to(at::kFloat), 1e-2);  // eight bits, rounded at the end
    EXPECT_EQ(gradient(mine, x).scalar_type(), at::kFloat);
    expect_near(gradient(mine, x), gradient(theirs, x), 1e-2);
  };
  check();
  RoundOnEveryProcessor rounding;
  check();
}

TEST(FrozenLayer, KeepsNeitherInputNorWeight) {
  auto weight = packed({8, 8}, PackedWeight::Form::int8);
  at::Tensor x = leaf({4, 8}), copy = x * 2;  // not a leaf, so that nothing else holds it
  at::Tensor y = frozen_linear(copy, held(weight), std::nullopt);
  EXPECT_EQ(copy.storage().use_count(), 1u);
  EXPECT_EQ(weight.use_count(), 2);  // the node's
  expect_near(gradient(y, x), gradient(at::linear(copy, unpacked(*weight, at::kFloat)), x));
}

// Held in a lower type and computed in float32: what the same numbers do that are held in float32, bit for bit.
TEST(FrozenLayer, HeldInALowerType) {
  at::manual_seed(5);
  for (at::ScalarType type : {at::kBFloat16, at::kHalf})
    for (bool with_bias : {false, true}) {
      const at::Tensor weight = at::randn({10, 14}).to(type), kernel = at::randn({6, 4, 3, 3}).to(type);
      at::Tensor x = leaf({2, 3, 14}), bias = leaf({10}), picture = leaf({2, 8, 7, 5}), kernel_bias = leaf({6});
      std::optional<at::Tensor> b = with_bias ? std::optional(bias) : std::nullopt;
      at::Tensor mine = frozen_linear(x, held(weight), b), theirs = at::linear(x, weight.to(at::kFloat), b);
      EXPECT_TRUE(mine.equal(theirs));
      EXPECT_TRUE(gradient(mine, x).equal(gradient(theirs, x)));
      if (with_bias) expect_near(gradient(mine, bias), gradient(theirs, bias));
      mine = frozen_conv2d(picture, held(kernel), kernel_bias, {2, 1, 1, 2}), theirs = at::conv2d(picture, kernel.to(at::kFloat), kernel_bias, 2, 1, 1, 2);
      EXPECT_TRUE(mine.equal(theirs));
      EXPECT_TRUE(gradient(mine, picture).equal(gradient(theirs, picture)));
    }
}

// A picture whose channels lie beside each other, as after attention: the convolution and its gradient keep that layout.
TEST(FrozenLayer, KeepsTheLayoutOfItsInput) {
  at::manual_seed(6);
  const at::Tensor kernel = at::randn({16, 8, 3, 3}).to(at::kBFloat16);
  at::Tensor x = at::randn({2, 8, 6, 6}).contiguous(at::MemoryFormat::ChannelsLast).requires_grad_(true);
  at::Tensor mine = frozen_conv2d(x, held(kernel), std::nullopt, {1, 1, 1, 1}), theirs = at::conv2d(x, kernel.to(at::kFloat), {}, 1, 1);
  EXPECT_EQ(mine.suggest_memory_format(), theirs.suggest_memory_format());
  EXPECT_TRUE(mine.equal(theirs));
  EXPECT_TRUE(gradient(mine, x).equal(gradient(theirs, x)));
}

TEST(FrozenLayer, AutocastRoundsWhatIsHeldInFloat32ToTheSame) {
  at::manual_seed(7);
  const at::Tensor weight = at::randn({16, 64}).to(at::kBFloat16);
  at::Tensor x = leaf({5, 64});
  auto in_bfloat16 = [&](const at::Tensor& plain) {
    Autocast lower(at::kCPU, at::kBFloat16);
    Parameter p{"weight", {16, 64}, "default", false, 0, plain};
    return linear_layer(x, p, nullptr);
  };
  auto check = [&] {
    at::Tensor mine = in_bfloat16(weight), theirs = in_bfloat16(weight.to(at::kFloat));
    EXPECT_EQ(mine.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(mine.equal(theirs));
    EXPECT_TRUE(gradient(mine, x).equal(gradient(theirs, x)));
  };
  check();
  RoundOnEveryProcessor rounding;
  check();
}

// Beside a trained weight its frozen bias, and beside a frozen weight its trained bias.
TEST(FrozenLayer, TypesMeetInALayer) {
  at::manual_seed(8);
  const at::Tensor half = at::randn({4}).to(at::kHalf), matrix = at::randn({4, 3}).to(at::kHalf);
  at::Tensor x = leaf({2, 3}), trained = leaf({4, 3}), trained_bias = leaf({4});
  trained.mutable_grad() = at::zeros({4, 3});
  Parameter weight{"weight", {4, 3}, "default", true, 0, trained}, frozen_bias{"bias", {4}, "zeros", false, 0, half};
  EXPECT_TRUE(linear_layer(x, weight, &frozen_bias).equal(at::linear(x, trained, half.to(at::kFloat))));
  Parameter frozen{"weight", {4, 3}, "default", false, 0, matrix}, bias{"bias", {4}, "zeros", true, 0, trained_bias};
  at::Tensor y = linear_layer(x, frozen, &bias);
  EXPECT_TRUE(y.equal(at::linear(x, matrix.to(at::kFloat), trained_bias)));
  expect_near(gradient(y, trained_bias), gradient(at::linear(x, matrix.to(at::kFloat), trained_bias), trained_bias));
}

TEST(FrozenLayer, KeepsNoFloatsOfWhatIsHeldInALowerType) {
  const at::Tensor weight = at::randn({8, 8}).to(at::kBFloat16);
  at::Tensor x = leaf({4, 8}), copy = x * 2;
  Parameter p{"weight", {8, 8}, "default", false, 0, weight};
  at::Tensor y = linear_layer(copy, p, nullptr);
  EXPECT_EQ(copy.storage().use_count(), 1u) << "the input";
  EXPECT_TRUE(y.requires_grad());
  expect_near(gradient(y, x), gradient(at::linear(copy, weight.to(at::kFloat)), x));
}

}  // namespace t2i
