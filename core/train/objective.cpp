#include "core/train/objective.h"

#include <ATen/ATen.h>

#include "core/precision/autocast.h"

namespace t2i {

Tensors denoising_loss(Model& model, Loss& loss, const Tensors& step, at::ScalarType compute) {
  Tensors result = loss.prepare(step);  // the forward process: latents, noise, timesteps -> noisy, target

  Tensors model_in = step;
  model_in["latents"] = result.at("noisy");
  for (const char* not_for_the_model : {"noise", "rng"}) model_in.erase(not_for_the_model);
  {
    Autocast autocast(result.at("noisy").device().type(), compute);
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
