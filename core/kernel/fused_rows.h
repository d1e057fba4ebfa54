// The loops of fused.cpp over plain floats: what ATen does in several passes over memory, in one or two.
// On x86-64 they are compiled for processors with AVX2: ask has_wide_floats() before calling them.
#pragma once
#include <cstdint>

namespace t2i::rows {

// One group of one sample: `channels` rows of `each` floats, with the weight and bias of each channel.
struct Group {
  int64_t channels, each;
  const float *weight, *bias;  // null: ones, zeros
};

// y = silu(z), z = (x - mean) rstd weight + bias. Mean and rstd = 1 / sqrt(variance + eps) are written for backward.
void group_norm_silu(const Group& group, float eps, const float* x, float* y, float* mean, float* rstd);

// From grad_y: grad_x, and this sample's share of the gradients of weight and bias, one number a channel (may be null).
void group_norm_silu_backward(const Group& group, const float* x, float mean, float rstd, const float* grad_y,
                              float* grad_x, float* grad_weight, float* grad_bias);

// y = a gelu(b): `n` floats of each. The gate's gelu is the exact one, by erf (Hendrycks & Gimpel 2016,
// arXiv:1606.08415), within 1e-7.
void geglu(int64_t n, const float* a, const float* b, float* y);
void geglu_backward(int64_t n, const float* a, const float* b, const float* grad_y, float* grad_a, float* grad_b);

}  // namespace t2i::rows
