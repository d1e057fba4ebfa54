// Philox draws for a batch: `rng` is [n,3] int64 (seed, step, sample), result [n, per_sample...] float32 on its device.
// A row depends on its own (seed, step, sample) and the stream's name alone, never on n or on where it runs.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

namespace t2i {

at::Tensor draw_uniform(const at::Tensor& rng, const std::string& stream, at::IntArrayRef per_sample);
at::Tensor draw_normal(const at::Tensor& rng, const std::string& stream, at::IntArrayRef per_sample);

}  // namespace t2i
