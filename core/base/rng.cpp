#include "core/base/rng.h"

#include <bit>

namespace t2i {

void philox_uniform(const DrawKey& key, std::span<float> out) {
  for (size_t i = 0; i < out.size(); i += 4) {
    Philox4 words = philox(key, static_cast<uint32_t>(i / 4));
    for (size_t j = 0; j < 4 && i + j < out.size(); ++j) out[i + j] = philox_unit(words.v[j]);
  }
}

void philox_normal(const DrawKey& key, std::span<float> out) {
  for (size_t i = 0; i < out.size(); i += 4) {
    Philox4 words = philox(key, static_cast<uint32_t>(i / 4));
    float four[4];
    philox_normals(words.v[0], words.v[1], four);
    philox_normals(words.v[2], words.v[3], four + 2);
    for (size_t j = 0; j < 4 && i + j < out.size(); ++j) out[i + j] = four[j];
  }
}

float philox_uniform(const DrawKey& key) { return philox_unit(philox(key, 0).v[0]); }

uint64_t permuted(uint64_t index, uint64_t n, uint64_t seed, uint64_t epoch) {
  // A balanced Feistel network on 2·half bits covers [0, 4^half) ⊇ [0, n); values outside are walked on.
  int half = (static_cast<int>(std::bit_width(n - 1)) + 1) / 2;
  if (half == 0) return 0;
  uint64_t mask = (uint64_t{1} << half) - 1, x = index;
  do {
    uint64_t left = x >> half, right = x & mask;
    for (uint32_t round = 0; round < 6; ++round) {
      Philox4 f = philox({seed, epoch, right, stream_id("order") + round}, 0);
      uint64_t next = left ^ (((uint64_t{f.v[1]} << 32) | f.v[0]) & mask);
      left = right, right = next;
    }
    x = (left << half) | right;
  } while (x >= n);
  return x;
}

}  // namespace t2i
