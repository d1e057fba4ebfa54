// Pictures from a loaded model: a batch of them, prompts in, pixels out. Used by `generate` and by a run's validation.
#pragma once
#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/generate/denoise.h"
#include "core/generate/sampler.h"
#include "core/plug/model.h"
#include "core/plug/task.h"

namespace t2i {

struct PaintJob {
  std::string prompt, negative;
  uint64_t seed = 0;
  at::Tensor source;  // [1,3,H,W] in −1…1; undefined where the task reads no picture
  at::Tensor noise;   // [1,C,h,w], the initial noise; undefined: drawn from the seed
};

struct Painted {
  at::Tensor pixels;         // [n,3,H,W] in about −1…1, float32, on the device
  at::Tensor noise, latents;  // what it began with and what was decoded
};

class Painter {
 public:
  // All of the model's parts must be loaded; `task` was created with the guidance wanted. Both must outlive this.
  // The denoiser is of `dtype`; the text encoders and the VAE of any. `compute`: lower precision for a denoiser in
  // float32, as training uses it; float32 for none.
  Painter(Model& model, Task& task, at::Device device, at::ScalarType dtype, at::ScalarType compute = at::kFloat)
      : model_(model), task_(task), device_(device), dtype_(dtype), compute_(compute) {}

  // All of one size in pixels, a multiple of the model's downscale. Where needs_source(), every job must have one.
  Painted paint(const std::vector<PaintJob>& jobs, int64_t width, int64_t height, Sampler& sampler,
                const StepProgress& progress = {});

  // Encodes the texts ahead and keeps them, so that the text encoders may go. False where they would take more than
  // `most_bytes`: then they are encoded as they come.
  bool remember(const std::vector<std::string>& texts, uint64_t most_bytes);

  bool needs_source() const;

 private:
  const Tensors& text(const std::string& prompt);
  Guidance guidance_of(const std::vector<PaintJob>& jobs, int64_t width, int64_t height);

  Model& model_;
  Task& task_;
  at::Device device_;
  at::ScalarType dtype_, compute_;
  std::map<std::string, Tensors> texts_;  // conditioning of the last few prompts, or of all, n = 1
  bool keeps_all_ = false;
};

// The folder's scheduler as the family's own pipeline for `task` takes it: published pipelines change some values.
SchedulerFile scheduler_for(const Model& model, const std::string& task, const Json& config, const std::string& path);

// What a sampler must know of the model and of a picture of that size in pixels.
SamplerOptions sampler_options_for(const Model& model, int64_t steps, int64_t width, int64_t height);

// Pixels → 8-bit RGB [n,H,W,3] on the CPU, as published pipelines do it: (x / 2 + 1/2) clamped to 0…1, times 255,
// rounded to the nearest. E6011 when there are values that are no numbers.
at::Tensor to_rgb8(const at::Tensor& pixels);

}  // namespace t2i
