// Draws and orders as pure functions: the host side of philox.h, and the sample order of an epoch.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include "core/base/philox.h"

namespace t2i {

// The stream of a name ("noise", "timesteps", "flip", …): FNV-1a, so that new names never shift old streams.
constexpr uint32_t stream_id(std::string_view name) {
  uint32_t h = 2166136261u;
  for (char c : name) h = (h ^ static_cast<unsigned char>(c)) * 16777619u;
  return h;
}

// Uniform [0, 1) and standard normal draws, one per element of `out`.
void philox_uniform(const DrawKey& key, std::span<float> out);
void philox_normal(const DrawKey& key, std::span<float> out);
float philox_uniform(const DrawKey& key);  // the first element alone

// Where position `index` of epoch `epoch` lies in a shuffled set of n: a Feistel permutation with cycle walking,
// O(1) memory and O(1) seek, so resuming at sample 10 000 000 costs nothing. n = 0 is an error of the caller.
uint64_t permuted(uint64_t index, uint64_t n, uint64_t seed, uint64_t epoch);

}  // namespace t2i
