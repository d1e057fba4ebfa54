#include "core/kernel/packed_rows.h"

#include "core/kernel/floats.h"

namespace t2i::rows {
namespace {

const Ints places = {4, 0, 12, 8, 20, 16, 28, 24};  // of eight codes in four bytes: the first of a byte is its upper half

Ints chosen(const int32_t (&from)[8], Ints which) {
  const Ints table = {from[0], from[1], from[2], from[3], from[4], from[5], from[6], from[7]};
  return __builtin_shuffle(table, which);
}

// All lanes, one over the other.
uint32_t all_in_one(Ints v) {
  v |= __builtin_shuffle(v, Ints{4, 5, 6, 7, 0, 1, 2, 3});
  v |= __builtin_shuffle(v, Ints{2, 3, 0, 1, 6, 7, 4, 5});
  return static_cast<uint32_t>(v[0] | v[1]);
}

// The codes of eight weights: how many of the borders are below each. Four comparisons find it, as in a sorted list:
// with the middle one, then with the middle one of that half. The borders of each round are picked by a shuffle.
struct Borders {
  float first;
  int32_t second[8] = {}, third[8] = {}, fourth[8] = {};  // bits of floats
  explicit Borders(const float* middle) : first(middle[7]) {
    for (int k = 0; k < 2; ++k) __builtin_memcpy(second + k, middle + 8 * k + 3, 4);
    for (int k = 0; k < 4; ++k) __builtin_memcpy(third + k, middle + 4 * k + 1, 4);
    for (int k = 0; k < 8; ++k) __builtin_memcpy(fourth + k, middle + 2 * k, 4);
  }
  Ints codes(Floats x) const {
    Ints code = -(x > all(first));  // a comparison is -1 where it holds
    code = code * 2 - (x > reinterpret_cast<Floats>(chosen(second, code)));
    code = code * 2 - (x > reinterpret_cast<Floats>(chosen(third, code)));
    return code * 2 - (x > reinterpret_cast<Floats>(chosen(fourth, code)));
  }
};

}  // namespace

// Each half of a byte is an index into two vectors of eight values, which one shuffle reads.
void dequantize_nf4(int64_t blocks, const uint8_t* packed, const float* scales, const float* values, float* out) {
  const Floats lower = load(values, width), upper = load(values + width, width);
  for (int64_t block = 0; block < blocks; ++block, packed += 32, out += 64) {
    const float scale = scales[block];
    for (int64_t i = 0; i < 8; ++i) {
      uint32_t bytes;
      __builtin_memcpy(&bytes, packed + 4 * i, 4);
      const Ints all_of_it = Ints{} + static_cast<int32_t>(bytes), codes = (all_of_it >> places) & 15;
      store(out + 8 * i, __builtin_shuffle(lower, upper, codes) * scale, width);
    }
  }
}

void quantize_nf4(int64_t blocks, const float* x, const float* middle, uint8_t* packed, float* scales) {
  const Borders borders(middle);
  const Ints no_sign = Ints{} + 0x7fffffff;
  for (int64_t block = 0; block < blocks; ++block, x += 64, packed += 32) {
    Floats most = all(0);
    for (int64_t i = 0; i < 8; ++i) {
      const Floats size = reinterpret_cast<Floats>(reinterpret_cast<Ints>(load(x + 8 * i, width)) & no_sign);
      most = most < size ? size : most;
    }
    float largest = 0;
    for (int64_t k = 0; k < width; ++k) largest = largest < most[k] ? most[k] : largest;
    scales[block] = largest;
    const float factor = 1.0f / (largest < 1e-38f ? 1e-38f : largest);
    for (int64_t i = 0; i < 8; ++i) {
      const Ints shifted = borders.codes(load(x + 8 * i, width) * factor) << places;
      const uint32_t bytes = all_in_one(shifted);
      __builtin_memcpy(packed + 4 * i, &bytes, 4);
    }
  }
}

void dequantize_int8(int64_t count, const int8_t* codes, float scale, float unit, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(codes[i]) * scale * unit;
}

void to_bfloat16(int64_t count, const float* x, uint16_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    __builtin_memcpy(&bits, x + i, 4);
    out[i] = static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
}

}  // namespace t2i::rows
