// The kernel's thread, run on the host, gives the bits of core/base/rng.h.
#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "core/base/rng.h"
#include "core/cuda/draw_thread.h"

namespace t2i {
namespace {

TEST(draw_kernel, a_thread_makes_the_bits_of_the_host) {
  const std::vector<int64_t> keys{1, 0, 0, 42, 7, 3, -1, int64_t{1} << 40, (int64_t{1} << 40) + 5};
  for (int64_t each : {1, 2, 3, 4, 5, 64, 4093}) {
    for (bool normal : {false, true}) {
      std::vector<float> out(static_cast<size_t>(3 * each + 1), -7.0f), expected(static_cast<size_t>(each));
      DrawJob job{keys.data(), 3, each, stream_id("noise"), normal, out.data()};
      // Backwards: threads are in no order.
      for (int64_t thread = draw_threads(job); thread-- > 0;) draw_thread(job, thread);
      for (size_t row = 0; row < 3; ++row) {
        DrawKey key{static_cast<uint64_t>(keys[3 * row]), static_cast<uint64_t>(keys[3 * row + 1]),
                    static_cast<uint64_t>(keys[3 * row + 2]), stream_id("noise")};
        normal ? philox_normal(key, expected) : philox_uniform(key, expected);
        for (size_t i = 0; i < expected.size(); ++i)
          ASSERT_EQ(std::bit_cast<uint32_t>(out[row * static_cast<size_t>(each) + i]),
                    std::bit_cast<uint32_t>(expected[i]))
              << row << " " << i;
      }
      EXPECT_EQ(out.back(), -7.0f) << "a thread wrote behind the last row";
    }
  }
}

TEST(draw_kernel, nothing_to_draw) {
  DrawJob job{nullptr, 0, 5, 1, true, nullptr};
  EXPECT_EQ(draw_threads(job), 0);
  job.rows = 3, job.each = 0;
  EXPECT_EQ(draw_threads(job), 0);
}

}  // namespace
}  // namespace t2i
