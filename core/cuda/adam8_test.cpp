// The kernel's threads, run on the host, give the bits of core/kernel/adam8.h.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/cuda/adam8_thread.h"
#include "core/kernel/adam8.h"
#include "core/kernel/dynamic_codes.h"

namespace t2i {
namespace {

struct State {
  at::Tensor weights;
  CodedMoment mean, square;
  State copy() const { return {weights.clone(), {mean.codes.clone(), mean.scales.clone()}, {square.codes.clone(), square.scales.clone()}}; }
};

// As the kernel goes through a block of weights; threads are in no order, so backwards.
void by_threads(const Adam8Options& options, const Adam8Scalars& scalars, State& state, const at::Tensor& grads) {
  if (*scalars.found_bad.const_data_ptr<float>() != 0) return;
  const int64_t n = state.weights.numel();
  const Adam8Job job{n, 0, adam8_blocks(n), state.weights.mutable_data_ptr<float>(), grads.const_data_ptr<float>(),
                     {state.mean.codes.mutable_data_ptr<uint8_t>(), state.mean.scales.mutable_data_ptr<float>()},
                     {state.square.codes.mutable_data_ptr<uint8_t>(), state.square.scales.mutable_data_ptr<float>()}};
  const Adam8Lookup lookup{dynamic_values().data(), dynamic_unsigned_values().data(), dynamic_codes().data(), dynamic_unsigned_codes().data()};
  const Adam8Numbers numbers = adam8_numbers(options, *scalars.step.const_data_ptr<float>(), *scalars.grad_divisor.const_data_ptr<float>());
  for (int64_t block = job.first; block < job.last; ++block) {
    const int64_t begin = block * adam8_block, end = std::min(n, begin + adam8_block);
    std::vector<Adam8Moments> moments(static_cast<size_t>(end - begin));
    float mean = 0, square = 0;
    for (int64_t i = end; i-- > begin;) {
      Adam8Moments& m = moments[static_cast<size_t>(i - begin)] = adam8_move(numbers, lookup, job, i);
      mean = adam8_larger(mean, m.mean), square = adam8_larger(square, m.square);
    }
    for (int64_t i = end; i-- > begin;) {
      const Adam8Moments& m = moments[static_cast<size_t>(i - begin)];
      job.mean.codes[i] = adam8_code(m.mean, mean, lookup.mean_codes), job.square.codes[i] = adam8_code(m.square, square, lookup.square_codes);
    }
    job.mean.scales[block] = mean, job.square.scales[block] = square;
  }
}

void expect_same(const at::Tensor& a, const at::Tensor& b, const char* what, int step) {
  EXPECT_EQ(std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()), 0) << what << " after step " << step;
}

}  // namespace

TEST(Adam8Kernel, ThreadsMakeTheBitsOfTheHost) {
  at::manual_seed(4);
  const Adam8Options options{0.003, 0.9, 0.999, 1e-8, 0.01};
  for (int64_t n : {1, 255, 256, 257, 5'000}) {
    State host{at::randn({n}), {at::zeros({n}, at::kByte), at::zeros({adam8_blocks(n)})}, {at::zeros({n}, at::kByte), at::zeros({adam8_blocks(n)})}};
    State device = host.copy();
    for (int step = 1; step <= 6; ++step) {
      at::Tensor grads = at::randn({n}).mul_(at::randn({n}).exp_());
      if (n > 600) grads.narrow(0, 256, 256).zero_();  // a block without any gradient
      if (step > 4) grads.mutable_data_ptr<float>()[n / 2] = step == 5 ? 3e38f : NAN;  // nothing stops a step whose flag is not set
      const Adam8Scalars scalars{at::full({}, step, at::kFloat), at::full({}, 1.7, at::kFloat), at::full({1}, step == 3 ? 1 : 0, at::kFloat)};
      adam8_update(options, scalars, host.weights, grads, host.mean, host.square);
      by_threads(options, scalars, device, grads);
      expect_same(host.weights, device.weights, "weights", step);
      expect_same(host.mean.codes, device.mean.codes, "codes of the mean", step), expect_same(host.mean.scales, device.mean.scales, "scales of the mean", step);
      expect_same(host.square.codes, device.square.codes, "codes of the square", step);
      expect_same(host.square.scales, device.square.scales, "scales of the square", step);
    }
  }
}

}  // namespace t2i
