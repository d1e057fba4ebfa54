// The loops of modulation.cpp over plain floats, each over `count` rows of `width` that share what modulates them.
// On x86-64 they are compiled for processors with AVX2: ask has_wide_floats() before calling them.
#pragma once
#include <cstdint>

namespace t2i::rows {

struct Rows {
  int64_t count, width;
};

// y = (x - mean) rstd (1 + scale) + shift; mean and rstd = 1 / sqrt(variance + eps) of each row are kept for backward.
void ada_layer_norm(Rows rows, float eps, const float* x, const float* scale, const float* shift, float* y, float* mean, float* rstd);
// From grad_y: grad_x, and the rows' share of the gradients of scale and shift [width], written over what was there.
void ada_layer_norm_backward(Rows rows, const float* x, const float* scale, const float* mean, const float* rstd, const float* grad_y, float* grad_x,
                             float* grad_scale, float* grad_shift);

// y = x + gate z.
void gated_add(Rows rows, const float* x, const float* gate, const float* z, float* y);
// From grad_y: grad_z, and the rows' share of the gradient of the gate [width], written over what was there.
void gated_add_backward(Rows rows, const float* gate, const float* z, const float* grad_y, float* grad_z, float* grad_gate);

// y = x rstd weight, rstd = 1 / sqrt(mean(x^2) + eps) kept for backward.
void rms_norm(Rows rows, float eps, const float* x, const float* weight, float* y, float* rstd);
// From grad_y: grad_x, and the rows' share of the gradient of the weight [width], written over what was there.
void rms_norm_backward(Rows rows, const float* x, const float* weight, const float* rstd, const float* grad_y, float* grad_x, float* grad_weight);

}  // namespace t2i::rows
