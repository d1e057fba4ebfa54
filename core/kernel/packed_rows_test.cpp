// The loops for AVX2 and AVX-512 give the bits of the plain ones. (That these are bitsandbytes' is test_nf4_equals_bitsandbytes.py's.)
#include "core/kernel/packed_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <random>

#include "core/kernel/nf4.h"
#include "core/kernel/processor.h"

namespace t2i {
namespace {

constexpr size_t blocks = 37, count = blocks * nf4_block;

std::vector<float> numbers() {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> x(count);
  for (float& one : x) one = normal(random);
  std::fill_n(x.begin() + nf4_block, nf4_block, 0.0f);  // a block of zeros
  for (size_t i = 0; i < 16; ++i) x[2 * nf4_block + i] = nf4_values[i];
  for (size_t i = 0; i < 15; ++i) x[2 * nf4_block + 16 + i] = (nf4_values[i] + nf4_values[i + 1]) / 2;  // borders
  return x;
}

// By its definition: the nearest value, the lower one at a border.
uint32_t code(float scaled) {
  uint32_t c = 0;
  for (size_t i = 0; i < 15; ++i) c += scaled > (nf4_values[i] + nf4_values[i + 1]) / 2;
  return c;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) { return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y); });
}

}  // namespace

TEST(PackedRows, CodesAreTheNearestValues) {
  const std::vector<float> x = numbers();
  std::vector<uint8_t> packed(count / 2), wanted(count / 2);
  std::vector<float> scales(blocks), largest(blocks);
  for (size_t b = 0; b < blocks; ++b) {
    for (size_t i = b * nf4_block; i < (b + 1) * nf4_block; ++i) largest[b] = std::max(largest[b], std::abs(x[i]));
    const float factor = 1.0f / std::max(largest[b], 1e-38f);
    for (size_t i = b * nf4_block; i < (b + 1) * nf4_block; i += 2)
      wanted[i / 2] = static_cast<uint8_t>(code(x[i] * factor) << 4 | code(x[i + 1] * factor));
  }
  quantize_nf4(x, packed, scales);
  EXPECT_EQ(packed, wanted);
  EXPECT_TRUE(same(scales, largest));
}

TEST(PackedRows, EveryWidthGivesTheSameWeights) {
  std::vector<uint8_t> packed(count / 2);
  std::vector<float> scales(blocks), wanted(count);
  quantize_nf4(numbers(), packed, scales);
  for (size_t i = 0; i < count; ++i) wanted[i] = nf4_values[i % 2 ? packed[i / 2] & 15 : packed[i / 2] >> 4] * scales[i / nf4_block];
  auto check = [&](auto rows) {
    std::vector<float> out(count);
    rows(static_cast<int64_t>(blocks), packed.data(), scales.data(), nf4_values.data(), out.data());
    EXPECT_TRUE(same(out, wanted));
  };
  if (has_wide_floats()) check(rows::dequantize_nf4);
  if (has_widest_floats()) check(rows_512::dequantize_nf4);
  std::vector<float> out(count);
  dequantize_nf4(packed, scales, out);
  EXPECT_TRUE(same(out, wanted));
}

TEST(PackedRows, Int8IsRoundedAfterEachProduct) {
  if (!has_wide_floats()) GTEST_SKIP() << "this processor has no wide floats";
  std::vector<int8_t> codes;
  for (int c = -127; c <= 127; ++c) codes.push_back(static_cast<int8_t>(c));
  std::vector<float> out(codes.size()), wanted;
  const float scale = 0.0371f, unit = 7.874015718698502e-3f;
  for (int8_t c : codes) {
    const volatile float once = static_cast<float>(c) * scale;
    wanted.push_back(once * unit);
  }
  rows::dequantize_int8(static_cast<int64_t>(codes.size()), codes.data(), scale, unit, out.data());
  EXPECT_TRUE(same(out, wanted));
}

}  // namespace t2i
