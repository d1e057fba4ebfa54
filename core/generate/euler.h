#pragma once
#include <ATen/ATen.h>

namespace t2i {

// One Euler step of the probability flow from noise level sigma to sigma_next (Karras et al., "Elucidating the design
// space of diffusion-based generative models", NeurIPS 2022, algorithm 1 without churn): d = (x − denoised) / σ is dx/dσ
// for unscaled x = x_0 + σ · noise, and for a flow's x = (1 − σ) · x_0 + σ · noise alike.
inline at::Tensor euler_step(const at::Tensor& x, const at::Tensor& denoised, float sigma, float sigma_next) {
  at::Tensor d = (x - denoised) / sigma;
  return x + d * (sigma_next - sigma);
}

}  // namespace t2i
