// What bf16_weights.h does to one weight, as bits: host and device compile this same text.
#pragma once
#include <cstdint>

#include "core/base/philox.h"

namespace t2i {

T2I_HOST_DEVICE inline uint32_t joined_bits(uint16_t upper, int16_t lower) {
  return (static_cast<uint32_t>(upper) << 16) + static_cast<uint32_t>(static_cast<int32_t>(lower));
}
// To the nearest; what is right between two goes away from zero.
T2I_HOST_DEVICE inline uint16_t upper_half(uint32_t exact) { return static_cast<uint16_t>((exact + 0x8000u) >> 16); }
T2I_HOST_DEVICE inline int16_t lower_half(uint32_t exact) { return static_cast<int16_t>(static_cast<uint16_t>(exact)); }

// `word`: 32 random bits. The upper 16 of them, added below, carry as often as the lower half is large.
T2I_HOST_DEVICE inline uint16_t stochastic_half(uint32_t exact, uint32_t word) { return static_cast<uint16_t>((exact + (word >> 16)) >> 16); }

// Weights that share a key, and of these the ones that share a block of Philox.
constexpr int64_t rounding_row = 16, rounding_block = 4;

struct RoundingDraws {
  uint64_t seed = 0, step = 0;
  int64_t begin = 0;  // of the first weight, a multiple of rounding_row
  uint32_t stream = 0;
};

// The words of weights 4 `block` to 4 `block` + 3.
T2I_HOST_DEVICE inline Philox4 rounding_words(const RoundingDraws& draws, int64_t block) {
  constexpr int64_t blocks_a_row = rounding_row / rounding_block;
  DrawKey key;
  key.seed = draws.seed, key.step = draws.step, key.stream = draws.stream;
  key.sample = static_cast<uint64_t>(draws.begin / rounding_row + block / blocks_a_row);
  return philox(key, static_cast<uint32_t>(block % blocks_a_row));
}

}  // namespace t2i
