// What one micro-step trains on, as tensors on the device: latents and conditioning, made from loaded samples by the
// model's encoders. Encoding is done sample by sample, so that what a sample becomes depends on nothing but the sample
// (and remembered, where the sample can come back unchanged).
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/config/config.h"
#include "core/data/loader.h"
#include "core/model/tensors.h"
#include "core/plug/model.h"
#include "core/plug/task.h"

namespace t2i {

class Encoder {
 public:
  static constexpr int64_t most_remembered_bytes = int64_t{2} << 30;

  // Both must outlive the Encoder; the model's text encoders and VAE must be loaded. Whatever precision they are held
  // in, what they make is handed on in float32.
  // `tokens_only`: texts are handed on as tokens ("tokens"…, "null_tokens"…), because their encoders are part of the step.
  // `zero_null`: null_text_is_zero().
  Encoder(Model& model, const Task& task, at::Device device, bool tokens_only, bool zero_null);
  ~Encoder();

  // The step's tensors for `samples` (rows in order; what they bring encoded is not encoded again) under `rng` [n,3]:
  // latents, prompt_embeds…, null_prompt_embeds…, image_latents where the task has a source. Under no-grad.
  Tensors encode(const std::vector<Sample>& samples, const at::Tensor& rng);

  // What texts were encoded to before, float32 on the CPU: asked in place of the text encoders, which need not be loaded.
  std::function<Tensors(const std::string&)> made_before{};

  // The conditioning of one text, n = 1: prompt_embeds, pooled… or its tokens.
  Tensors encode_text(const std::string& text);
  // The conditioning of a source picture, n = 1: the mode of the posterior, scaled as the model wants it.
  at::Tensor encode_source(const FloatImage& image);

 private:
  Tensors remembered_posterior(const Sample& sample, const std::string& column);

  Model& model_;
  const Task& task_;
  at::Device device_;
  bool tokens_only_, zero_null_;
  struct Memory;
  std::unique_ptr<Memory> memory_;
};

// Is a dropped text zeros, as the guidance's branch without a text has it? Otherwise it is the encoding of "".
bool null_text_is_zero(const Model& model, const TrainConfig& train);

// One picture or text, as every other: what becomes of it depends on nothing but itself. `mean` and `logvar` [1,C,h,w];
// prompt_embeds [1,L,D] and what else the family has. Float32, under no-grad.
Tensors encode_picture(Model& model, const FloatImage& image, at::Device device);
Tensors encode_text(Model& model, const std::string& text, at::Device device, bool tokens_only = false);

// [1,3,H,W] float32 on `device`.
at::Tensor pixels_tensor(const FloatImage& image, at::Device device);

}  // namespace t2i
