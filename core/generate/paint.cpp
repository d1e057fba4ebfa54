#include "core/generate/paint.h"

#include <algorithm>
#include <set>

#include "core/generate/noise.h"
#include "core/precision/autocast.h"

namespace t2i {

bool Painter::needs_source() const {
  return std::ranges::any_of(task_.columns(), [](const TaskColumn& column) { return column.use == "source"; });
}

const Tensors& Painter::text(const std::string& prompt) {
  if (auto known = texts_.find(prompt); known != texts_.end()) return known->second;
  if (texts_.size() >= 256 && !keeps_all_) texts_.clear();
  Tensors tokens = model_.tokenize({prompt});
  for (auto& [name, t] : tokens) t = t.to(device_);
  Tensors made = model_.encode_text(tokens);
  for (auto& [name, t] : made)
    if (t.is_floating_point()) t = t.to(dtype_);
  return texts_[prompt] = std::move(made);
}

bool Painter::remember(const std::vector<std::string>& texts, uint64_t most_bytes) {
  if (texts.empty()) return true;
  uint64_t bytes = 0;
  for (const auto& [name, t] : text(texts.front())) bytes += t.nbytes();
  const std::set<std::string> distinct(texts.begin(), texts.end());
  if (bytes * distinct.size() > most_bytes) return false;
  keeps_all_ = true;
  for (const std::string& one : distinct) text(one);
  return true;
}

Guidance Painter::guidance_of(const std::vector<PaintJob>& jobs, int64_t width, int64_t height) {
  const bool zeros_for_none = model_.zero_for_no_text();
  uint32_t branches = task_.branches();
  std::map<std::string, std::vector<at::Tensor>> rows;
  for (const PaintJob& job : jobs) {
    for (const auto& [name, t] : text(job.prompt)) rows[name].push_back(t);
    if (branches > 1)  // guidance asks what the picture would be without the prompt
      for (const auto& [name, t] : text(job.negative))
        rows["negative_" + name].push_back(zeros_for_none && job.negative.empty() ? at::zeros_like(t) : t);
    if (job.source.defined()) {
      at::Tensor mode = model_.encode_image(job.source.to(device_)).at("mean").to(at::kFloat);
      rows["image_latents"].push_back(model_.source_latents(mode).to(dtype_));
    }
  }
  Tensors conditioning;
  for (auto& [name, list] : rows) conditioning[name] = at::cat(list);
  if (model_.wants_sizes()) {  // a picture made at this size and not cropped
    const float h = static_cast<float>(height), w = static_cast<float>(width);
    at::Tensor sizes = at::tensor({h, w, 0.f, 0.f, h, w}).expand({static_cast<int64_t>(jobs.size()), 6});
    conditioning["time_ids"] = sizes.to(device_);
  }
  if (at::Tensor told = model_.guidance(static_cast<int64_t>(jobs.size()), "generating"); told.defined())
    conditioning["guidance"] = told.to(device_);

  Guidance guidance;
  for (uint32_t i = 0; i < branches; ++i) guidance.branches.push_back(task_.branch(i, conditioning));
  guidance.combine = [this](const std::vector<at::Tensor>& predictions) { return task_.combine(predictions); };
  return guidance;
}

Painted Painter::paint(const std::vector<PaintJob>& jobs, int64_t width, int64_t height, Sampler& sampler,
                       const StepProgress& progress) {
  at::NoGradGuard no_gradients;
  std::vector<int64_t> shape{model_.latent_channels(), height / model_.downscale(), width / model_.downscale()};
  std::vector<uint64_t> seeds;
  std::vector<at::Tensor> noise;
  for (const PaintJob& job : jobs) {
    seeds.push_back(job.seed);
    noise.push_back(job.noise.defined() ? job.noise.to(device_, at::kFloat) : initial_noise({&job.seed, 1}, shape, device_));
  }
  Painted painted;
  painted.noise = at::cat(noise);
  Predict predict = [this](const Tensors& in) {
    Tensors cast = in;
    cast["latents"] = in.at("latents").to(dtype_);
    Autocast autocast(device_.type(), compute_);
    return model_.forward(cast).at("prediction");
  };
  painted.latents = denoise(painted.noise, sampler, predict, guidance_of(jobs, width, height), sampler_noise(seeds, shape, device_), progress);
  std::vector<at::Tensor> pixels;  // one by one: decoding takes more memory than the whole denoising
  for (const at::Tensor& latents : painted.latents.split(1)) pixels.push_back(model_.decode_image(latents).to(at::kFloat));
  painted.pixels = at::cat(pixels);
  return painted;
}

SchedulerFile scheduler_for(const Model& model, const std::string& task, const Json& config, const std::string& path) {
  SchedulerFile file(config, path);
  const Json overrides = model.about().value("scheduler_overrides", Json::object()).value(task, Json::object());
  for (const auto& [key, value] : overrides.items()) file.set(key, value);
  return file;
}

SamplerOptions sampler_options_for(const Model& model, int64_t steps, int64_t width, int64_t height) {
  const int64_t place = model.place_px();
  return {steps, (height / place) * (width / place), model.flow_ends_at_step()};
}

at::Tensor to_rgb8(const at::Tensor& pixels) {
  at::Tensor rgb = (pixels.to(at::kFloat) * 0.5 + 0.5).clamp(0, 1).mul(255).round();
  if (rgb.isnan().any().item<bool>())
    fail({"generate", "the picture has values that are no numbers", "float16 reaches only to 65504, which some models exceed",
          "use --dtype bfloat16 or float32", "E6011", Exit::failed});
  return rgb.to(at::kByte).permute({0, 2, 3, 1}).to(at::kCPU).contiguous();
}

}  // namespace t2i
