// The border between what a network says and what samplers work with: every sampler speaks in x_0, the clean picture,
// and the noise beside it; the several meanings of a network's output are turned into that here, once.
#pragma once
#include <ATen/ATen.h>

#include "core/generate/schedule.h"

namespace t2i {

// x = alpha · x_0 + sigma · noise. Diffusion samplers keep alpha² + sigma² = 1, or alpha = 1 (Karras et al. 2022);
// flow samplers alpha + sigma = 1. float32, as diffusers has them.
struct NoiseLevel {
  float alpha = 1, sigma = 0;
};

NoiseLevel level_of_alpha_bar(float alpha_bar);      // √ᾱ, √(1 − ᾱ)
NoiseLevel level_of_sigma(float sigma);              // the same, for σ = √((1 − ᾱ) / ᾱ)
inline NoiseLevel unscaled_level(float sigma) { return {1, sigma}; }
inline NoiseLevel flow_level(float sigma) { return {1 - sigma, sigma}; }

// x_0 and noise as the network's output implies them for x at `level`; float32.
at::Tensor clean_part(Prediction meaning, const at::Tensor& output, const at::Tensor& x, NoiseLevel level);
at::Tensor noise_part(Prediction meaning, const at::Tensor& output, const at::Tensor& x, NoiseLevel level);

}  // namespace t2i
