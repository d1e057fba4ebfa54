// What one thread of the 8-bit AdamW kernel does, as host and device code: the host's copy is what a test compares with
// core/kernel/adam8.h, bit for bit, on machines without a GPU. A block of 256 threads is a block of 256 weights: each moves one,
// together they find the largest of their moments, and each writes its codes.
#pragma once
#include <cstdint>

#include "core/kernel/adam8_numbers.h"

namespace t2i {

// All pointers are the device's; those of scalars are float32, of the lookup the tables of core/kernel/dynamic_codes.h.
struct Adam8DeviceJob {
  Adam8Options options;
  const float *step, *grad_divisor, *found_bad;
  Adam8Lookup lookup;
  Adam8Job job;
};

struct Adam8Moments {
  float mean, square;
};

// Moves weight `i`. Its moments as they are now, not yet in eight bits: their codes are written when the scales are known.
T2I_HOST_DEVICE inline Adam8Moments adam8_move(const Adam8Numbers& a, const Adam8Lookup& lookup, const Adam8Job& job, int64_t i) {
  const int64_t block = i / adam8_block;
  const float g = job.grads[i] / a.grad_divisor;
  float mean = lookup.mean_values[job.mean.codes[i]] * job.mean.scales[block];
  float square = lookup.square_values[job.square.codes[i]] * job.square.scales[block];
  mean = mean * a.beta1 + a.one_minus_beta1 * g;
  square = square * a.beta2 + a.one_minus_beta2 * g * g;
  job.weights[i] = job.weights[i] * a.kept - a.step_size * mean / (sqrtf(square) / a.denominator + a.added);
  return {mean, square};
}

// Of two magnitudes, `so_far` being a number. What is no number is never the larger one.
T2I_HOST_DEVICE inline float adam8_larger(float so_far, float x) {
  const float size = fabsf(x);
  return size > so_far ? size : so_far;
}

T2I_HOST_DEVICE inline uint8_t adam8_code(float x, float largest, const uint8_t* code_at) {
  const float divisor = largest > 0 ? largest : 1.0f;
  const float at = (x / divisor + 1.0f) * 32767.5f + 0.5f;
  return code_at[static_cast<int32_t>(at < 65535.0f ? at : 65535.0f)];  // what is no number too
}

}  // namespace t2i
