// The kernels' threads, run on the host, give the bits of core/kernel/bf16_weights.h.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/base/rng.h"
#include "core/cuda/bf16_weights_thread.h"
#include "core/kernel/bf16_weights.h"

namespace t2i {
namespace {

template <class Bits>
Bits* bits_of(at::Tensor& t) { return static_cast<Bits*>(t.mutable_data_ptr()); }

// A number more than there are weights: what lies behind the last must not change.
at::Tensor room(int64_t n, at::ScalarType type) { return at::full({n + 1}, 3, type); }

// Threads are in no order, so backwards.
template <class Run>
void by_threads(int64_t threads, Run run) {
  for (int64_t thread = threads; thread-- > 0;) run(thread);
}

}  // namespace

TEST(Bf16WeightsKernel, Halves) {
  at::manual_seed(5);
  for (int64_t n : {1, 255, 4'099}) {
    at::Tensor exact = at::randn({n}), upper = at::empty({n}, at::kBFloat16), lower = at::empty({n}, at::kShort);
    split_halves(exact, upper, lower);
    at::Tensor upper2 = room(n, at::kBFloat16), lower2 = room(n, at::kShort), exact2 = room(n, at::kFloat);
    const HalvesJob split{bits_of<uint32_t>(exact), bits_of<uint16_t>(upper2), bits_of<int16_t>(lower2), n};
    by_threads(n, [&](int64_t i) { split_thread(split, i); });
    EXPECT_TRUE(at::equal(upper2.narrow(0, 0, n), upper) && at::equal(lower2.narrow(0, 0, n), lower)) << n;
    const HalvesJob join{bits_of<uint32_t>(exact2), bits_of<uint16_t>(upper2), bits_of<int16_t>(lower2), n};
    by_threads(n, [&](int64_t i) { join_thread(join, i); });
    EXPECT_TRUE(at::equal(exact2.narrow(0, 0, n), exact)) << n;
    EXPECT_EQ(exact2[n].item<float>() + upper2[n].item<float>() + lower2[n].item<float>(), 9) << "a thread wrote behind the last weight";
  }
}

TEST(Bf16WeightsKernel, Rounding) {
  at::manual_seed(6);
  for (int64_t n : {1, 4, 17, 4'099}) {
    at::Tensor exact = at::randn({n}), rounded = at::empty({n}, at::kBFloat16), rounded2 = room(n, at::kBFloat16);
    round_stochastically(exact, rounded, {42, int64_t{1} << 40, 320});
    const RoundingJob job{bits_of<uint32_t>(exact), bits_of<uint16_t>(rounded2), n, {42, uint64_t{1} << 40, 320, stream_id("stochastic_rounding")}};
    by_threads(rounding_threads(job), [&](int64_t thread) { rounding_thread(job, thread); });
    EXPECT_TRUE(at::equal(rounded2.narrow(0, 0, n), rounded)) << n;
    EXPECT_EQ(rounded2[n].item<float>(), 3) << "a thread wrote behind the last weight";
  }
}

}  // namespace t2i
