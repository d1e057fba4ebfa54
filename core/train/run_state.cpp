#include "core/train/run_state.h"

#include "core/model/digest.h"
#include "core/precision/device.h"
#include "core/train/pattern.h"

namespace t2i {

TrainState start_state(Session& session, const Config& config, at::ScalarType compute) {
  TrainState state;
  state.weights = &load_part(session, config, session.model->denoiser(), dtype_from(config.train.dtype, "train.dtype"),
                             [&](const std::string& name) { return matches_any(name, config.train.parameters); });
  if (!state.weights->trained.defined())
    fail({"train.parameters", "no parameter matches", "", "use * for any text, as in *attn*", "E1032", Exit::config});
  state.weights->recompute = config.train.gradient_checkpointing;
  state.optimizer = make_optimizer_state(state.weights->trained);
  state.loss_scale = LossScale(session.device, compute == at::kHalf);
  if (config.train.use_ema) state.ema.start(state.weights->trained, config.train.ema_decay);
  return state;
}

// A stale copy of the model on one machine would train weights that drift apart unseen.
std::vector<std::pair<std::string, std::string>> loaded_weights(Session& session) {
  std::vector<std::pair<std::string, std::string>> digests;
  for (const char* role : {"text_encoder", "vae", "denoiser"})
    for (const std::string& part : session.model->parts(role))
      if (session.model->has(part)) digests.emplace_back("weights of " + part, digest_of(session.model->store(part)));
  return digests;
}

std::unique_ptr<Reducer> make_reducer(Group& group, const ParamStore& weights) {
  std::vector<ReducedParameter> reduced;
  for (const Parameter& p : weights.parameters)
    if (p.trainable) reduced.push_back({p.value, p.offset, p.value.numel()});
  return std::make_unique<Reducer>(group, weights.trained_grad, std::move(reduced));
}

}  // namespace t2i
