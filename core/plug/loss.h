// A loaded loss: it draws timesteps, makes the noisy input and the target, and measures.
#pragma once
#include <string>

#include "core/base/json.h"
#include "core/model/tensors.h"
#include "core/plug/library.h"

namespace t2i {

class Loss {
 public:
  // `context`: {"scheduler": the folder's scheduler_config.json, "latent": describe()'s of the model}. Options already
  // checked against the schema.
  Loss(const Component& component, const Json& options, const Json& context);
  ~Loss();
  Loss(const Loss&) = delete;

  const std::string& id() const { return component_.id; }

  const Component& component() const { return component_; }
  const Json& about() const { return about_; }                  // "scheduler": keys the trained folder's scheduler gets
  at::Tensor draw(const Tensors& step);                         // latents, rng -> timesteps [n]
  Tensors prepare(const Tensors& step);                         // latents, noise, timesteps -> noisy, target
  Tensors compute(const Tensors& step);                         // -> loss_per_sample [n], raw_loss_per_sample [n]

 private:
  const t2i_loss& api() const { return *static_cast<const t2i_loss*>(component_.impl); }
  std::string who(const char* function) const { return "loss '" + component_.id + "' " + function; }
  const Component& component_;
  void* self_ = nullptr;
  Json about_;
};

}  // namespace t2i
