// Layers over packed weights against ATen's over the numbers that they unpack to: results, gradients, and what is kept.
#include "core/model/packed_layer.h"

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

TEST(PackedLayer, Linear) {
  at::manual_seed(1);
  for (auto form : {PackedWeight::Form::nf4, PackedWeight::Form::int8})
    for (bool with_bias : {false, true}) {
      auto weight = packed({10, 14}, form);
      at::Tensor x = leaf({2, 3, 14}), bias = leaf({10}), plain = unpacked(*weight, at::kFloat);
      std::optional<at::Tensor> b = with_bias ? std::optional(bias) : std::nullopt;
      at::Tensor mine = packed_linear(x, weight, b), theirs = at::linear(x, plain, b);
      expect_near(mine, theirs);
      expect_near(gradient(mine, x), gradient(theirs, x));
      if (with_bias) expect_near(gradient(mine, bias), gradient(theirs, bias));
    }
}

TEST(PackedLayer, Conv2d) {
  at::manual_seed(2);
  for (ConvShape s : {ConvShape{1, 1, 1, 1}, ConvShape{2, 1, 1, 1}, ConvShape{1, 2, 2, 1}, ConvShape{1, 1, 1, 2}}) {
    auto weight = packed({6, 8 / s.groups, 3, 3}, PackedWeight::Form::nf4);
    at::Tensor x = leaf({2, 8, 7, 5}), bias = leaf({6}), plain = unpacked(*weight, at::kFloat);
    at::Tensor mine = packed_conv2d(x, weight, bias, s);
    at::Tensor theirs = at::conv2d(x, plain, bias, s.stride, s.padding, s.dilation, s.groups);
    expect_near(mine, theirs);
    expect_near(gradient(mine, x), gradient(theirs, x));
    expect_near(gradient(mine, bias), gradient(theirs, bias));
  }
}

TEST(PackedLayer, AutocastAndProcessorsWithoutBfloat16) {
  at::manual_seed(3);
  auto weight = packed({16, 64}, PackedWeight::Form::nf4);
  at::Tensor x = leaf({5, 64}), bias = leaf({16});
  auto both = [&] {
    Autocast lower(at::kCPU, at::kBFloat16);
    return std::pair(packed_linear(x, weight, bias), at::linear(x, unpacked(*weight, at::kBFloat16), bias));
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

TEST(PackedLayer, KeepsNeitherInputNorWeight) {
  auto weight = packed({8, 8}, PackedWeight::Form::int8);
  at::Tensor x = leaf({4, 8}), copy = x * 2;  // not a leaf, so that nothing else holds it
  at::Tensor y = packed_linear(copy, weight, std::nullopt);
  EXPECT_EQ(copy.storage().use_count(), 1u);
  EXPECT_EQ(weight.use_count(), 2);  // the node's
  expect_near(gradient(y, x), gradient(at::linear(copy, unpacked(*weight, at::kFloat)), x));
}

}  // namespace t2i
