// What one thread of the kernels over bfloat16 weights does, as host and device code: the host's copy is what a test compares
// with core/kernel/bf16_weights.h, bit for bit, on machines without a GPU.
#pragma once
#include <cstdint>

#include "core/kernel/bf16_bits.h"

namespace t2i {

// Weights as bits: `exact` is `upper` and `lower` together. A thread takes one of them.
struct HalvesJob {
  uint32_t* exact = nullptr;
  uint16_t* upper = nullptr;
  int16_t* lower = nullptr;
  int64_t count = 0;
};

T2I_HOST_DEVICE inline void join_thread(const HalvesJob& job, int64_t i) { job.exact[i] = joined_bits(job.upper[i], job.lower[i]); }

T2I_HOST_DEVICE inline void split_thread(const HalvesJob& job, int64_t i) {
  const uint32_t bits = job.exact[i];
  job.upper[i] = upper_half(bits), job.lower[i] = lower_half(bits);
}

// A thread takes the weights that share a block of Philox; the last one may have fewer.
struct RoundingJob {
  const uint32_t* exact = nullptr;
  uint16_t* rounded = nullptr;
  int64_t count = 0;
  RoundingDraws draws;
};

T2I_HOST_DEVICE inline int64_t rounding_threads(const RoundingJob& job) { return (job.count + rounding_block - 1) / rounding_block; }

T2I_HOST_DEVICE inline void rounding_thread(const RoundingJob& job, int64_t thread) {
  const Philox4 words = rounding_words(job.draws, thread);
  const int64_t begin = thread * rounding_block;
  for (int64_t i = begin; i < begin + rounding_block && i < job.count; ++i) job.rounded[i] = stochastic_half(job.exact[i], words.v[i - begin]);
}

}  // namespace t2i
