// Moments in eight bits: the loop does what ATen's operations say, searching for codes instead of looking them up. That the
// loop is bitsandbytes' is in tests/test_optimizers_equal_theirs.py.
#include "core/kernel/adam8.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/kernel/adam8_block.h"
#include "core/kernel/dynamic_codes.h"
#include "core/kernel/processor.h"

namespace t2i {
namespace {

CodedMoment coded(int64_t n) { return {at::zeros({n}, at::kByte), at::zeros({adam8_blocks(n)})}; }
CodedMoment copy_of(const CodedMoment& m) { return {m.codes.clone(), m.scales.clone()}; }

at::Tensor values_of(bool has_sign) {
  return at::from_blob(const_cast<float*>((has_sign ? dynamic_values() : dynamic_unsigned_values()).data()), {256}, at::kFloat);
}

// [blocks, 256], zeros behind the end.
at::Tensor in_blocks(const at::Tensor& x) {
  const int64_t blocks = adam8_blocks(x.numel());
  return at::constant_pad_nd(x, {0, blocks * adam8_block - x.numel()}).view({blocks, adam8_block});
}

at::Tensor unpack_moment(const CodedMoment& moment, bool has_sign) {
  at::Tensor values = values_of(has_sign).index_select(0, moment.codes.to(at::kInt));
  return in_blocks(values).mul_(moment.scales.unsqueeze(1)).view(-1).narrow(0, 0, moment.codes.numel());
}

// The nearest value is searched for, as bitsandbytes does on a GPU: at a border between two the code may be the other one.
void pack_moment(const at::Tensor& x, bool has_sign, CodedMoment& moment) {
  at::Tensor values = values_of(has_sign), middle = values.narrow(0, 0, 255).add(values.narrow(0, 1, 255)).div_(2);
  at::Tensor blocks = in_blocks(x), largest = blocks.abs().amax(1);
  moment.scales.copy_(largest);
  at::Tensor scaled = blocks.div(largest.masked_fill(largest.eq(0), 1).unsqueeze(1));
  moment.codes.copy_(at::bucketize(scaled, middle, /*out_int32=*/true).view(-1).narrow(0, 0, x.numel()));
}

Adam8Scalars scalars(float step, float divisor, float bad) { return {at::full({}, step, at::kFloat), at::full({}, divisor, at::kFloat), at::full({1}, bad, at::kFloat)}; }

TEST(Adam8, ValuesAreInOrder) {
  for (const CodeValues* values : {&dynamic_values(), &dynamic_unsigned_values()}) {
    EXPECT_EQ(values->back(), 1);
    for (size_t i = 1; i < values->size(); ++i) EXPECT_LT((*values)[i - 1], (*values)[i]) << i;
  }
  EXPECT_EQ(dynamic_unsigned_values().front(), 0);
  EXPECT_LT(dynamic_values().front(), -0.9f);
}

TEST(Adam8, APlaceHasTheNearestCode) {
  for (bool has_sign : {true, false}) {
    const CodeValues& values = has_sign ? dynamic_values() : dynamic_unsigned_values();
    const std::vector<uint8_t>& codes = has_sign ? dynamic_codes() : dynamic_unsigned_codes();
    ASSERT_EQ(codes.size(), static_cast<size_t>(code_places));
    for (int32_t i = 0; i < code_places; ++i) {
      const double at = 2.0 * i / (code_places - 1) - 1;
      double nearest = 3;
      for (float v : values) nearest = std::min(nearest, std::abs(v - at));
      ASSERT_NEAR(std::abs(values[codes[static_cast<size_t>(i)]] - at), nearest, 2e-7) << i;  // the place itself is a float32
    }
  }
}

// One update by the op, and by hand with ATen from the same codes.
TEST(Adam8, TheLoopIsWhatOperationsSay) {
  const int64_t n = 3 * 256 + 19;
  at::Tensor weights = at::linspace(-1, 1, n), grads = at::arange(n).to(at::kFloat).mul_(1.7).cos_();
  CodedMoment mean = coded(n), square = coded(n);
  pack_moment(grads.roll(3), true, mean), pack_moment(grads.square(), false, square);
  CodedMoment mean2 = copy_of(mean), square2 = copy_of(square);
  // After three updates beta1^3 and beta2^3 are 0.729 and 0.970299.
  const Adam8Options o{0.003, 0.9, 0.99, 1e-8, 1.0 / 3};
  at::Tensor g = grads / 2.0, m = unpack_moment(mean, true) * 0.9 + g * 0.1, v = unpack_moment(square, false) * 0.99 + g.square() * 0.01;
  at::Tensor wanted = weights * 0.999 - m * (0.003 / 0.271) / (v.sqrt() / std::sqrt(0.029701) + 1e-8);
  adam8_update(o, scalars(3, 2, 0), weights, grads, mean, square);
  EXPECT_TRUE(at::allclose(weights, wanted, 1e-5, 1e-7));
  pack_moment(m, true, mean2), pack_moment(v, false, square2);
  EXPECT_TRUE(at::allclose(mean.scales, mean2.scales, 1e-6)) << "scales are the largest magnitudes";
  // At a border between two codes the table of places may know it otherwise.
  EXPECT_LT((mean.codes.to(at::kInt) - mean2.codes.to(at::kInt)).abs().max().item<int>(), 2);
  EXPECT_LT((square.codes.to(at::kInt) - square2.codes.to(at::kInt)).abs().max().item<int>(), 2);
  EXPECT_LT(mean.codes.ne(mean2.codes).sum().item<int64_t>(), n / 50);
}

TEST(Adam8, ABadStepChangesNothing) {
  const int64_t n = 300;
  at::Tensor weights = at::ones({n}), grads = at::full({n}, NAN);
  CodedMoment mean = coded(n), square = coded(n);
  adam8_update({0.1, 0.9, 0.99, 1e-8, 0.1}, scalars(1, 1, 1), weights, grads, mean, square);
  EXPECT_TRUE(at::equal(weights, at::ones({n})) && at::equal(mean.codes, at::zeros({n}, at::kByte)) && at::equal(mean.scales, at::zeros({2})));
}

TEST(Adam8, MomentsThatDoNotFitAreRefused) {
  at::Tensor x = at::ones({300});
  EXPECT_THROW(adam8_update({0.1, 0.9, 0.99, 1e-8, 0.1}, scalars(1, 1, 0), x, x, coded(299), coded(300)), c10::Error);
}

// The processor's widest vectors and plain floats: the same bits, so that a run may go on on another machine.
TEST(Adam8, VectorsMakeTheSameBits) {
  if (!has_wide_floats()) GTEST_SKIP() << "there is one loop only";
  at::manual_seed(3);
  const int64_t n = 5 * 256 + 77;
  at::Tensor weights = at::randn({n}), grads = at::randn({n});
  grads.mutable_data_ptr<float>()[40] = NAN, grads.narrow(0, 256, 256).zero_();
  CodedMoment mean = coded(n), square = coded(n), mean2 = coded(n), square2 = coded(n);
  at::Tensor weights2 = weights.clone();
  const Adam8Lookup tables{dynamic_values().data(), dynamic_unsigned_values().data(), dynamic_codes().data(), dynamic_unsigned_codes().data()};
  for (int step = 1; step < 5; ++step) {
    const Adam8Numbers numbers = adam8_numbers({0.003, 0.9, 0.99, 1e-8, 0.1}, static_cast<float>(step), 1.5f);
    auto job = [&](at::Tensor& w, CodedMoment& m, CodedMoment& s) {
      return Adam8Job{n, 0, adam8_blocks(n), w.mutable_data_ptr<float>(), grads.const_data_ptr<float>(),
                      {m.codes.mutable_data_ptr<uint8_t>(), m.scales.mutable_data_ptr<float>()},
                      {s.codes.mutable_data_ptr<uint8_t>(), s.scales.mutable_data_ptr<float>()}};
    };
    rows::adam8_update(numbers, tables, job(weights, mean, square));
    update_blocks(numbers, tables, job(weights2, mean2, square2));
    EXPECT_TRUE(at::equal(weights.view(at::kInt), weights2.view(at::kInt))) << step;
    EXPECT_TRUE(at::equal(mean.codes, mean2.codes) && at::equal(square.codes, square2.codes)) << step;
    EXPECT_TRUE(at::equal(mean.scales, mean2.scales) && at::equal(square.scales, square2.scales)) << step;
  }
}

}  // namespace
}  // namespace t2i
