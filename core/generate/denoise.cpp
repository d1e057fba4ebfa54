#include "core/generate/denoise.h"

namespace t2i {

namespace {

// The branches' conditioning end to end, when every tensor has the same shape in all of them; else nothing.
Tensors joined(const std::vector<Tensors>& branches) {
  Tensors all;
  for (const auto& [name, first] : branches.front()) {
    std::vector<at::Tensor> parts;
    for (const Tensors& branch : branches) {
      auto part = branch.find(name);
      if (part == branch.end() || part->second.sizes() != first.sizes() || branch.size() != branches.front().size()) return {};
      parts.push_back(part->second);
    }
    all[name] = at::cat(parts);
  }
  return all;
}

at::Tensor predict_at(const at::Tensor& latents, double timestep, const Predict& predict, Tensors in) {
  in["latents"] = latents;
  in["timesteps"] = at::full({latents.size(0)}, timestep, latents.options().dtype(at::kFloat));
  return predict(in).to(at::kFloat);
}

}  // namespace

at::Tensor denoise(const at::Tensor& noise, Sampler& sampler, const Predict& predict, const Guidance& guidance,
                   const NoiseSource& sampler_noise, const StepProgress& progress) {
  const std::vector<double>& timesteps = sampler.timesteps();
  auto branches = static_cast<int64_t>(guidance.branches.size());
  Tensors together = branches > 1 ? joined(guidance.branches) : Tensors();  // one pass through the network, not one each

  at::Tensor x = noise * sampler.init_noise_sigma();
  for (size_t i = 0; i < timesteps.size(); ++i) {
    auto at = static_cast<int64_t>(i);
    at::Tensor scaled = sampler.scale_input(x, at);
    std::vector<at::Tensor> predictions;
    if (!together.empty())
      predictions = predict_at(scaled.repeat({branches, 1, 1, 1}), timesteps[i], predict, together).chunk(branches);
    else
      for (const Tensors& branch : guidance.branches) predictions.push_back(predict_at(scaled, timesteps[i], predict, branch));
    x = sampler.step(guidance.combine(predictions), x, at, sampler_noise);
    if (progress) progress(i + 1, timesteps.size());
  }
  return x;
}

}  // namespace t2i
