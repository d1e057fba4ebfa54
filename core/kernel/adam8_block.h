// The loop of adam8_rows.h, for the two files that compile it. It uses no function of the C++ library, and everything has
// internal linkage (why: winograd_tile.cpp).
#pragma once
#include "core/kernel/adam8_rows.h"

namespace t2i {
namespace {

void pack_block(const float* x, int64_t n, const uint8_t* code_at, uint8_t* codes, float* scale) {
  float largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float size = __builtin_fabsf(x[i]);
    largest = size > largest ? size : largest;
  }
  *scale = largest;
  const float divisor = largest > 0 ? largest : 1.0f;
  int32_t place[adam8_block];
  for (int64_t i = 0; i < n; ++i) {
    const float at = (x[i] / divisor + 1.0f) * 32'767.5f + 0.5f;
    place[i] = static_cast<int32_t>(at < 65'535.0f ? at : 65'535.0f);  // what is no number too
  }
  for (int64_t i = 0; i < n; ++i) codes[i] = code_at[place[i]];
}

void update_block(const Adam8Numbers& a, const Adam8Lookup& lookup, const Adam8Job& job, int64_t block) {
  const int64_t at = block * adam8_block, n = job.n - at < adam8_block ? job.n - at : adam8_block;
  uint8_t *mean_codes = job.mean.codes + at, *square_codes = job.square.codes + at;
  float *mean_scale = job.mean.scales + block, *square_scale = job.square.scales + block, *weights = job.weights + at;
  const float* grads = job.grads + at;
  float mean[adam8_block], square[adam8_block];
  for (int64_t i = 0; i < n; ++i) {
    mean[i] = lookup.mean_values[mean_codes[i]] * *mean_scale;
    square[i] = lookup.square_values[square_codes[i]] * *square_scale;
  }
  for (int64_t i = 0; i < n; ++i) {
    const float g = grads[i] / a.grad_divisor;
    mean[i] = mean[i] * a.beta1 + a.one_minus_beta1 * g;
    square[i] = square[i] * a.beta2 + a.one_minus_beta2 * g * g;
    weights[i] = weights[i] * a.kept - a.step_size * mean[i] / (__builtin_sqrtf(square[i]) / a.denominator + a.added);
  }
  pack_block(mean, n, lookup.mean_codes, mean_codes, mean_scale);
  pack_block(square, n, lookup.square_codes, square_codes, square_scale);
}

void update_blocks(const Adam8Numbers& numbers, const Adam8Lookup& lookup, const Adam8Job& job) {
  for (int64_t block = job.first; block < job.last; ++block) update_block(numbers, lookup, job, block);
}

}  // namespace
}  // namespace t2i
