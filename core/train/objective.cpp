#include "core/train/objective.h"

#include <ATen/ATen.h>

#include "core/precision/autocast.h"

namespace t2i {

// A network whose trained weights are held in a lower type is computed in it altogether, as after diffusers' .to(dtype).
// Numbers per sample stay as they are: half precision would round them.
static void hand_over_in(at::ScalarType type, Tensors& model_in) {
  for (auto& [name, tensor] : model_in) {
    const bool scalar_per_sample = name == "timesteps" || name == "guidance" || name == "time_ids";
    if (tensor.is_floating_point() && !scalar_per_sample) tensor = tensor.to(type);
  }
}

Tensors denoising_loss(Model& model, Loss& loss, const Tensors& step, at::ScalarType compute) {
  Tensors result = loss.prepare(step);  // the forward process: latents, noise, timesteps -> noisy, target

  const at::Tensor& trained = model.store(model.denoiser()).trained;
  const bool in_bfloat16 = trained.defined() && trained.scalar_type() == at::kBFloat16;
  Tensors model_in = step;
  model_in["latents"] = result.at("noisy");
  for (const char* not_for_the_model : {"noise", "rng"}) model_in.erase(not_for_the_model);
  if (in_bfloat16) hand_over_in(at::kBFloat16, model_in);
  {
    Autocast autocast(result.at("noisy").device().type(), in_bfloat16 ? at::kFloat : compute);
    result["prediction"] = model.forward(model_in).at("prediction");
  }

  Tensors measured = step;
  measured["noisy"] = result["noisy"];
  measured["target"] = result["target"];
  measured["prediction"] = result["prediction"].scalar_type() == at::kDouble ? result["prediction"] : result["prediction"].to(at::kFloat);
  result.merge(loss.compute(measured));
  result["loss"] = result.at("loss_per_sample").mean();
  return result;
}

}  // namespace t2i
