// The loops over weights in halves, against the same in ATen's operations on whole numbers. What they are good for is in
// tests/test_bf16_weights.py.
#include "core/kernel/bf16_weights.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/kernel/draw.h"

namespace t2i {
namespace {

// Of all sizes and both signs, halfway between two bfloat16, at the ends of what there is.
at::Tensor numbers(int64_t n) {
  at::Tensor x = at::randn({n}).mul_(at::randn({n}).mul_(10).exp_());
  float* data = x.mutable_data_ptr<float>();
  const float special[] = {0.0f, -0.0f, 1.00390625f, 1.01171875f, -1.00390625f, 3.3e38f, 1e-45f, std::numeric_limits<float>::infinity(), -1.5f};
  for (int64_t i = 0; i < std::min<int64_t>(n, std::size(special)); ++i) data[i] = special[i];
  return x;
}

at::Tensor joined_by_aten(const at::Tensor& upper, const at::Tensor& lower) {
  return upper.view(at::kShort).to(at::kInt).bitwise_left_shift_(16).add_(lower).view(at::kFloat);
}

TEST(Bf16Weights, HalvesAreTheWhole) {
  at::manual_seed(1);
  for (int64_t n : {1, 9, 16, 40'003}) {
    at::Tensor exact = numbers(n), upper = at::empty({n}, at::kBFloat16), lower = at::empty({n}, at::kShort);
    split_halves(exact, upper, lower);
    at::Tensor half = exact.view(at::kInt).add(0x8000).bitwise_right_shift_(16);
    EXPECT_TRUE(at::equal(upper.view(at::kShort), half.to(at::kShort))) << n;
    EXPECT_TRUE(at::equal(lower, exact.view(at::kInt).sub(half.bitwise_left_shift(16)).to(at::kShort))) << n;
    EXPECT_TRUE(at::equal(join_halves(upper, lower).view(at::kInt), exact.view(at::kInt))) << n;
    EXPECT_TRUE(at::equal(join_halves(upper, lower).view(at::kInt), joined_by_aten(upper, lower).view(at::kInt))) << n;
  }
}

TEST(Bf16Weights, RoundedAsTheDrawSays) {
  at::manual_seed(2);
  const RoundingKey key{42, 7, 160};
  for (int64_t n : {1, 15, 16, 17, 40'003}) {
    at::Tensor exact = numbers(n), rounded = at::empty({n}, at::kBFloat16);
    round_stochastically(exact, rounded, key);
    const int64_t rows = (n + 15) / 16;
    at::Tensor rng = at::stack({at::full({rows}, key.seed, at::kLong), at::full({rows}, key.step, at::kLong), at::arange(rows).add(key.begin / 16)}, 1);
    at::Tensor draw = draw_uniform(rng, "stochastic_rounding", {16}).view(-1).narrow(0, 0, n).mul_(65536).to(at::kInt);
    at::Tensor wanted = draw.add_(exact.view(at::kInt)).bitwise_right_shift_(16).to(at::kShort);
    EXPECT_TRUE(at::equal(rounded.view(at::kShort), wanted)) << n;
  }
}

TEST(Bf16Weights, NoNumbersOnTheMetaDevice) {
  at::Tensor upper = at::empty({5}, at::TensorOptions().dtype(at::kBFloat16).device(at::kMeta));
  EXPECT_EQ(join_halves(upper, at::empty({5}, upper.options().dtype(at::kShort))).numel(), 5);
}

TEST(Bf16Weights, HalvesThatDoNotFitAreRefused) {
  EXPECT_THROW(join_halves(at::empty({5}, at::kBFloat16), at::empty({4}, at::kShort)), c10::Error);
  EXPECT_THROW(round_stochastically(at::empty({5}), at::empty({5}, at::kBFloat16), {1, 1, 3}), c10::Error);
}

}  // namespace
}  // namespace t2i
