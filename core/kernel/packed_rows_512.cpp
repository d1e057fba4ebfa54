// What packed_rows.cpp does eight floats at a time, for processors with AVX-512, where all 16 values of NF4 lie in one
// vector and a shuffle reads 16 of them at once. It uses no function of the C++ library (why: winograd_tile.cpp).
#include "core/kernel/packed_rows.h"

namespace t2i::rows_512 {
namespace {

typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef float FloatsInMemory __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t Eight __attribute__((vector_size(32)));

}  // namespace

void dequantize_nf4(int64_t blocks, const uint8_t* packed, const float* scales, const float* values, float* out) {
  const Floats table = *reinterpret_cast<const FloatsInMemory*>(values);
  const Ints places = {4, 0, 12, 8, 20, 16, 28, 24, 4, 0, 12, 8, 20, 16, 28, 24};
  for (int64_t block = 0; block < blocks; ++block, packed += 32, out += 64) {
    const float scale = scales[block];
    Eight words;  // of eight codes each
    __builtin_memcpy(&words, packed, 32);
    for (int k = 0; k < 4; ++k) {
      const int32_t a = words[2 * k], b = words[2 * k + 1];
      const Ints both = {a, a, a, a, a, a, a, a, b, b, b, b, b, b, b, b};
      *reinterpret_cast<FloatsInMemory*>(out + 16 * k) = __builtin_shuffle(table, (both >> places) & 15) * scale;
    }
  }
}

}  // namespace t2i::rows_512
