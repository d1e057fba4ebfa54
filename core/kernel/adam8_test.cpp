// Moments in eight bits: the loop and ATen's operations, which a GPU runs, agree. That the loop is bitsandbytes' is in
// tests/test_optimizers_equal_theirs.py.
#include "core/kernel/adam8.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace t2i {
namespace {

CodedMoment coded(int64_t n) { return {at::zeros({n}, at::kByte), at::zeros({adam8_blocks(n)})}; }

TEST(Adam8, ValuesAreInOrder) {
  const auto& values = dynamic_unsigned_values();
  EXPECT_EQ(values.front(), 0);
  EXPECT_EQ(values.back(), 1);
  for (size_t i = 1; i < values.size(); ++i) EXPECT_LT(values[i - 1], values[i]) << i;
}

TEST(Adam8, PackingGivesWhatUnpackingReads) {
  for (bool has_sign : {true, false})
    for (int64_t n : {1, 255, 256, 257, 5000}) {
      at::Tensor x = at::arange(n).to(at::kFloat).mul_(0.37).sin_();
      if (!has_sign) x = x.square();
      CodedMoment moment = coded(n);
      pack_moment(x, has_sign, moment);
      at::Tensor back = unpack_moment(moment, has_sign);
      // The values of the highest decade are 1/70 apart with a sign, half of that without; below they are nearer.
      EXPECT_LT((back - x).abs().max().item<double>(), has_sign ? 0.0075 : 0.004) << n;
      CodedMoment again = coded(n);
      pack_moment(back, has_sign, again);
      EXPECT_TRUE(has_sign || at::equal(again.codes, moment.codes)) << n;
    }
}

// One update by the loop, and by hand with ATen from the same codes.
TEST(Adam8, TheLoopIsWhatOperationsSay) {
  const int64_t n = 3 * 256 + 19;
  at::Tensor weights = at::linspace(-1, 1, n), grads = at::arange(n).to(at::kFloat).mul_(1.7).cos_();
  CodedMoment mean = coded(n), square = coded(n);
  pack_moment(grads.roll(3), true, mean), pack_moment(grads.square(), false, square);
  CodedMoment mean2{mean.codes.clone(), mean.scales.clone()}, square2{square.codes.clone(), square.scales.clone()};
  const Adam8Numbers a{2.0f, 0.9f, 0.1f, 0.99f, 0.01f, 0.003f, 0.5f, 1e-8f, 0.999f};
  at::Tensor g = grads / 2.0, m = unpack_moment(mean, true) * 0.9 + g * 0.1, v = unpack_moment(square, false) * 0.99 + g.square() * 0.01;
  at::Tensor wanted = weights * 0.999 - m * 0.003 / (v.sqrt() / 0.5 + 1e-8);
  adam8_update(a, weights, grads, mean, square);
  EXPECT_TRUE(at::allclose(weights, wanted, 1e-5, 1e-7));
  pack_moment(m, true, mean2), pack_moment(v, false, square2);
  EXPECT_TRUE(at::allclose(mean.scales, mean2.scales, 1e-6)) << "scales are the largest magnitudes";
  // At a border between two codes the table of places may know it otherwise.
  EXPECT_LT((mean.codes.to(at::kInt) - mean2.codes.to(at::kInt)).abs().max().item<int>(), 2);
  EXPECT_LT((square.codes.to(at::kInt) - square2.codes.to(at::kInt)).abs().max().item<int>(), 2);
  EXPECT_LT(mean.codes.ne(mean2.codes).sum().item<int64_t>(), n / 50);
}

}  // namespace
}  // namespace t2i
