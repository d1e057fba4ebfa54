#include "core/base/rng.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <set>
#include <vector>

using namespace t2i;

// Known answers of Random123 (kat_vectors, philox4x32-10), the authors' own file.
TEST(Philox, KnownAnswers) {
  Philox4 zero = philox({0, 0, 0, 0}, 0);
  EXPECT_EQ(zero.v[0], 0x6627e8d5u);
  EXPECT_EQ(zero.v[1], 0xe169c58du);
  EXPECT_EQ(zero.v[2], 0xbc57ac4cu);
  EXPECT_EQ(zero.v[3], 0x9b00dbd8u);
  // counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0 (digits of pi)
  Philox4 pi = philox({0x299f31d0a4093822ull, 0x13198a2e, 0x85a308d3, 0x03707344}, 0x243f6a88);
  EXPECT_EQ(pi.v[0], 0xd16cfe09u);
  EXPECT_EQ(pi.v[1], 0x94fdccebu);
  EXPECT_EQ(pi.v[2], 0x5001e420u);
  EXPECT_EQ(pi.v[3], 0x24126ea1u);
}

TEST(Philox, NormalsEqualTheLibraryFormula) {
  for (uint32_t i = 0; i < 20000; ++i) {
    Philox4 w = philox({7, 1, 2, 3}, i);
    float got[2];
    philox_normals(w.v[0], w.v[1], got);
    double u = ((w.v[0] >> 8) + 1.0) / 16777216.0, v = (w.v[1] >> 8) / 16777216.0;
    double r = std::sqrt(-2 * std::log(u)), a = 2 * std::numbers::pi * v;
    // 2e-6 absolute: float series of ln, sin and cos, radius up to 5.8
    ASSERT_NEAR(got[0], r * std::cos(a), 4e-6) << i;
    ASSERT_NEAR(got[1], r * std::sin(a), 4e-6) << i;
  }
}

TEST(Philox, MomentsOfAMillionDraws) {
  std::vector<float> x(1 << 20);
  philox_normal({1, 2, 3, stream_id("noise")}, x);
  double m1 = 0, m2 = 0, m4 = 0;
  for (double v : x) m1 += v, m2 += v * v, m4 += v * v * v * v;
  double n = static_cast<double>(x.size());
  EXPECT_NEAR(m1 / n, 0, 5 / std::sqrt(n));  // five standard errors
  EXPECT_NEAR(m2 / n, 1, 5 * std::sqrt(2 / n));
  EXPECT_NEAR(m4 / n, 3, 5 * std::sqrt(96 / n));
}

TEST(Philox, EveryPartOfTheKeyMatters) {
  std::set<float> seen;
  for (uint64_t s = 0; s < 4; ++s)
    for (uint64_t step = 0; step < 4; ++step)
      for (uint64_t sample = 0; sample < 4; ++sample)
        for (const char* stream : {"noise", "flip"}) seen.insert(philox_uniform({s, step, sample, stream_id(stream)}));
  EXPECT_GE(seen.size(), 127u);
}

TEST(Order, IsAPermutationForEverySmallSize) {
  for (uint64_t n = 1; n < 300; ++n) {
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < n; ++i) seen.insert(permuted(i, n, 42, n % 5));
    ASSERT_EQ(seen.size(), n);
    ASSERT_LT(*seen.rbegin(), n);
  }
}

TEST(Order, EpochsAndSeedsDiffer) {
  int same_epoch = 0, same_seed = 0, in_place = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    same_epoch += permuted(i, 1000, 1, 0) == permuted(i, 1000, 1, 1);
    same_seed += permuted(i, 1000, 1, 0) == permuted(i, 1000, 2, 0);
    in_place += permuted(i, 1000, 1, 0) == i;
  }
  EXPECT_LT(same_epoch, 10);  // expected 1
  EXPECT_LT(same_seed, 10);
  EXPECT_LT(in_place, 10);
}
