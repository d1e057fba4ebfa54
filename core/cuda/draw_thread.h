// What one thread of the draw kernel does, as host and device code: the host's copy is what a test compares with the
// draws of core/base/rng.h, bit for bit, on machines without a GPU.
#pragma once
#include <cstdint>

#include "core/base/philox.h"

namespace t2i {

struct DrawJob {
  const int64_t* keys = nullptr;  // [rows, 3]: seed, step, sample
  int64_t rows = 0, each = 0;     // draws per row
  uint32_t stream = 0;
  bool normal = false;
  float* out = nullptr;  // [rows, each]
};

// A thread makes the four draws of one Philox block; the last one of a row may have fewer to write.
T2I_HOST_DEVICE inline int64_t draw_blocks_per_row(const DrawJob& job) { return (job.each + 3) / 4; }
T2I_HOST_DEVICE inline int64_t draw_threads(const DrawJob& job) { return job.rows * draw_blocks_per_row(job); }

T2I_HOST_DEVICE inline void draw_thread(const DrawJob& job, int64_t thread) {
  int64_t blocks = draw_blocks_per_row(job), row = thread / blocks, block = thread % blocks;
  const int64_t* key = job.keys + 3 * row;
  DrawKey k;
  k.seed = static_cast<uint64_t>(key[0]), k.step = static_cast<uint64_t>(key[1]),
  k.sample = static_cast<uint64_t>(key[2]);
  k.stream = job.stream;
  Philox4 words = philox(k, static_cast<uint32_t>(block));
  float four[4];
  if (job.normal) {
    philox_normals(words.v[0], words.v[1], four);
    philox_normals(words.v[2], words.v[3], four + 2);
  } else {
    for (int i = 0; i < 4; ++i) four[i] = philox_unit(words.v[i]);
  }
  float* out = job.out + row * job.each + 4 * block;
  int64_t left = job.each - 4 * block;
  for (int i = 0; i < 4 && i < left; ++i) out[i] = four[i];
}

}  // namespace t2i
