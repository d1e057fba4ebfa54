#include "core/train/batch.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/kernel/draw.h"
#include "core/precision/device.h"
#include "core/train/encoded_sample.h"

namespace t2i {

struct Encoder::Memory {
  static constexpr int64_t limit_bytes = most_remembered_bytes;
  int64_t bytes = 0;
  std::map<std::string, Tensors> posteriors;
  std::map<std::string, Tensors> texts;
};

Encoder::Encoder(Model& model, const Task& task, at::Device device, bool tokens_only, bool zero_null)
    : model_(model), task_(task), device_(device), tokens_only_(tokens_only), zero_null_(zero_null), memory_(std::make_unique<Memory>()) {}
Encoder::~Encoder() = default;

bool null_text_is_zero(const Model& model, const TrainConfig& train) {
  return train.null_text == "as_drawn" && model.zero_for_no_text();
}

at::Tensor pixels_tensor(const FloatImage& image, at::Device device) {
  at::Tensor pixels = at::from_blob(const_cast<float*>(image.chw.data()), {1, 3, image.height, image.width}, at::kFloat).clone();
  return to_device(pixels, device);
}

Tensors encode_picture(Model& model, const FloatImage& image, at::Device device) {
  at::NoGradGuard no_grad;
  Tensors out = model.encode_image(pixels_tensor(image, device));
  return {{"mean", out.at("mean").to(at::kFloat)}, {"logvar", out.at("logvar").to(at::kFloat)}};
}

Tensors encode_text(Model& model, const std::string& text, at::Device device, bool tokens_only) {
  at::NoGradGuard no_grad;
  Tensors tokens = model.tokenize({text});
  for (auto& [name, t] : tokens) t = to_device(t, device);
  Tensors made = tokens_only ? tokens : model.encode_text(tokens);
  for (auto& [name, t] : made)
    if (t.is_floating_point()) t = t.to(at::kFloat);
  return made;
}

static Tensors on_device(Tensors tensors, at::Device device) {
  for (auto& [name, t] : tensors) t = to_device(t, device);
  return tensors;
}

Tensors Encoder::remembered_posterior(const Sample& sample, const std::string& column) {
  const Geometry& g = sample.geometry;
  std::string key = fmt::format("{} {} {} {} {}", sample.index, column, g.crop_top, g.crop_left, g.flip);
  if (auto it = memory_->posteriors.find(key); it != memory_->posteriors.end()) return it->second;
  const std::vector<std::string> coders = model_.parts("vae");  // a model may do without
  if (!coders.empty() && std::ranges::none_of(coders, [&](const std::string& part) { return model_.has(part); }))
    fail({sample.where, "is not in the cache, although it can be read", "It was changed since the run looked at it",
          "run the same command again", "E8075", Exit::bad_data});
  Tensors made = encode_picture(model_, sample.images.at(column), device_);
  int64_t bytes = static_cast<int64_t>(made.at("mean").nbytes() + made.at("logvar").nbytes());
  if (memory_->bytes + bytes <= Memory::limit_bytes) {
    memory_->bytes += bytes;
    memory_->posteriors.emplace(std::move(key), made);
  }
  return made;
}

Tensors Encoder::encode_text(const std::string& text) {
  auto it = memory_->texts.find(text);
  if (it == memory_->texts.end()) {
    Tensors made = made_before ? on_device(made_before(text), device_) : t2i::encode_text(model_, text, device_, tokens_only_);
    if (memory_->bytes > Memory::limit_bytes) return made;
    for (auto& [name, t] : made) memory_->bytes += static_cast<int64_t>(t.nbytes());
    it = memory_->texts.emplace(text, std::move(made)).first;
  }
  return it->second;
}

at::Tensor Encoder::encode_source(const FloatImage& image) {
  at::NoGradGuard no_grad;
  return model_.source_latents(encode_picture(model_, image, device_).at("mean"));
}

// [n,6] float32 (Podell et al. 2023, arXiv:2307.01952, §2.2). The crop is where it lies in the picture
// that is learnt from: a mirrored one is cropped as far from its own left edge as the original from its right.
static at::Tensor sizes_of(const std::vector<Sample>& samples) {
  at::Tensor sizes = at::empty({static_cast<int64_t>(samples.size()), 6}, at::kFloat);
  auto row = sizes.accessor<float, 2>();
  for (size_t i = 0; i < samples.size(); ++i) {
    const Geometry& g = samples[i].geometry;
    const int left = g.flip ? g.resized_width - g.crop_left - g.width : g.crop_left;
    const int values[] = {g.original_height, g.original_width, g.crop_top, left, g.height, g.width};
    for (int k = 0; k < 6; ++k) row[static_cast<int64_t>(i)][k] = static_cast<float>(values[k]);
  }
  return sizes;
}

Tensors Encoder::encode(const std::vector<Sample>& samples, const at::Tensor& rng) {
  at::NoGradGuard no_grad;
  std::map<std::string, std::vector<at::Tensor>> rows;
  for (const Sample& sample : samples) {
    for (const TaskColumn& column : task_.columns()) {
      const Tensors* ready = nullptr;
      if (sample.encoded)
        if (auto found = sample.encoded->columns.find(column.name); found != sample.encoded->columns.end()) ready = &found->second;
      if (column.use == "prompt") {
        const Tensors text = ready ? on_device(*ready, device_) : encode_text(sample.texts.at(column.name));
        for (const auto& [name, t] : text) rows[name].push_back(t);
        const bool zero = zero_null_ && !tokens_only_;
        for (const auto& [name, t] : encode_text("")) rows["null_" + name].push_back(zero ? at::zeros_like(t) : t);
      } else {
        const Tensors p = ready ? on_device(*ready, device_) : remembered_posterior(sample, column.name);
        if (column.use == "target")
          rows["mean"].push_back(p.at("mean")), rows["std"].push_back((p.at("logvar").clamp(-30, 20) * 0.5).exp());
        else
          rows["image_latents"].push_back(model_.source_latents(p.at("mean")));
      }
    }
  }
  Tensors step;
  for (auto& [name, list] : rows) step[name] = at::cat(list);
  if (model_.wants_sizes()) step["time_ids"] = to_device(sizes_of(samples), device_);
  if (at::Tensor told = model_.guidance(static_cast<int64_t>(samples.size()), "training"); told.defined())
    step["guidance"] = to_device(told, device_);
  at::Tensor mean = step.at("mean"), std = step.at("std");
  step.erase("mean"), step.erase("std");
  at::Tensor draw = draw_normal(rng, "posterior", mean.sizes().slice(1));
  step["latents"] = model_.scale_latents(mean + std * draw);
  step["rng"] = rng;
  return step;
}

}  // namespace t2i
