// The noise of a picture, drawn from its seed alone: not from how many pictures are made at once, nor on which device,
// so any picture of a batch can be made again by itself.
#pragma once
#include <ATen/ATen.h>

#include <cstdint>
#include <span>

#include "core/generate/sampler.h"

namespace t2i {

// Standard normal [n, …per_picture] float32; row i belongs to seeds[i].
at::Tensor initial_noise(std::span<const uint64_t> seeds, at::IntArrayRef per_picture, at::Device device);

// The same for what a sampler adds at evaluation i.
NoiseSource sampler_noise(std::span<const uint64_t> seeds, at::IntArrayRef per_picture, at::Device device);

}  // namespace t2i
