// The denoising loop: from noise to clean latents by a sampler's steps, each with the predictions that guidance needs.
// What the network and the guidance are is passed in.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <vector>

#include "core/generate/sampler.h"
#include "core/model/tensors.h"

namespace t2i {

// "latents" [m,C,h,w], "timesteps" [m] float32 and a branch's conditioning → the network's output [m,C,h,w].
using Predict = std::function<at::Tensor(const Tensors& in)>;

struct Guidance {
  std::vector<Tensors> branches;  // the conditioning of each prediction of a step, [n, …] each
  std::function<at::Tensor(const std::vector<at::Tensor>&)> combine;  // float32 predictions, in that order → one
};

using StepProgress = std::function<void(size_t done, size_t evaluations)>;

// `noise` [n,C,h,w]: standard normal, float32. Returns latents of the same shape, float32. Call it without gradients.
at::Tensor denoise(const at::Tensor& noise, Sampler& sampler, const Predict& predict, const Guidance& guidance,
                   const NoiseSource& sampler_noise, const StepProgress& progress = {});

}  // namespace t2i
