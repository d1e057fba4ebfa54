#include "core/kernel/nf4_rows.h"

#include "core/kernel/floats.h"

namespace t2i::rows {

// Four bytes give eight weights: each half is an index into two vectors of eight values, which one shuffle reads.
void dequantize_nf4(int64_t blocks, const uint8_t* packed, const float* scales, const float* values, float* out) {
  const Floats lower = load(values, width), upper = load(values + width, width);
  const Ints shifts = {4, 0, 12, 8, 20, 16, 28, 24};  // the first weight of a byte is its upper half
  for (int64_t block = 0; block < blocks; ++block, packed += 32, out += 64) {
    const float scale = scales[block];
    for (int64_t i = 0; i < 8; ++i) {
      uint32_t bytes;
      __builtin_memcpy(&bytes, packed + 4 * i, 4);
      const Ints all_of_it = Ints{} + static_cast<int32_t>(bytes), codes = (all_of_it >> shifts) & 15;
      store(out + 8 * i, __builtin_shuffle(lower, upper, codes) * scale, width);
    }
  }
}

}  // namespace t2i::rows
