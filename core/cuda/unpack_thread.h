// What one thread of the unpacking kernels does, as host and device code: the host's copy is what a test compares with
// core/kernel/unpack.h, bit for bit, on machines without a GPU.
#pragma once
#include <cstdint>

#include "core/base/philox.h"

namespace t2i {

// As core/kernel/unpack.h has it. `twice`: `scale_codes` and `block_scales` are there, else `scales`.
struct Nf4Job {
  const uint8_t* codes = nullptr;
  const uint8_t* scale_codes = nullptr;
  const float* scales = nullptr;        // of blocks of 64, or of 256 scales
  bool twice = false;
  float mean = 0;
  const float* values = nullptr;        // the 16 of NF4
  const float* dynamic = nullptr;       // the 256 of scale_codes
  int64_t count = 0;                    // weights
};

struct Int8Job {
  const int8_t* codes = nullptr;
  const float* scales = nullptr;  // of rows
  int64_t count = 0, each = 0;    // weights, and how many a row has
  float unit = 0;
};

constexpr int64_t unpacked_at_once = 8;  // weights of a thread; a divisor of the block, so all have one scale

T2I_HOST_DEVICE inline int64_t unpack_threads(int64_t count) { return (count + unpacked_at_once - 1) / unpacked_at_once; }

// store(i, x) for weight i.
template <class Store>
T2I_HOST_DEVICE inline void unpack_nf4_thread(const Nf4Job& job, int64_t thread, Store store) {
  const int64_t begin = thread * unpacked_at_once, block = begin / 64;
  const float scale = job.twice ? job.dynamic[job.scale_codes[block]] * job.scales[block / 256] + job.mean : job.scales[block];
  for (int64_t i = begin; i < begin + unpacked_at_once && i < job.count; ++i) {
    const uint8_t both = job.codes[i / 2];
    store(i, job.values[i % 2 ? both & 15 : both >> 4] * scale);
  }
}

template <class Store>
T2I_HOST_DEVICE inline void unpack_int8_thread(const Int8Job& job, int64_t thread, Store store) {
  for (int64_t i = thread * unpacked_at_once; i < (thread + 1) * unpacked_at_once && i < job.count; ++i)
    store(i, static_cast<float>(job.codes[i]) * job.scales[i / job.each] * job.unit);
}

// The bits of the nearest bfloat16, ties to even, of a number.
T2I_HOST_DEVICE inline uint16_t bfloat16_bits(uint32_t float_bits) {
  return static_cast<uint16_t>((float_bits + 0x7fff + (float_bits >> 16 & 1)) >> 16);
}

}  // namespace t2i
