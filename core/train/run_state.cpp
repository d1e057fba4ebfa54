#include "core/train/run_state.h"

#include <algorithm>

#include "core/config/rates.h"
#include "core/model/block_swap.h"
#include "core/model/digest.h"
#include "core/model/offload.h"
#include "core/precision/device.h"
#include "core/train/adapter.h"
#include "core/train/pattern.h"
#include "core/train/text_encoders.h"

namespace t2i {

// A word of train.parameters that means nothing here would silently train less than was asked for.
static void require_matches(const Session& session, const Config& config) {
  const Json& about = session.model->about();
  const ParamStore& store = session.model->store(session.model->denoiser());
  std::string groups, where = "train.parameters";
  const Json known = about.value("parameter_groups", Json::object());
  for (const auto& [name, patterns] : known.items()) groups += (groups.empty() ? "" : ", ") + name;
  if (auto at = config.positions.find(where); at != config.positions.end()) where = at->second;
  std::vector<Error> errors;
  for (const std::string& one : config.train.parameters)
    if (std::ranges::none_of(store.parameters, [patterns = expand_groups({one}, about)](const Parameter& p) { return matches_any(p.name, patterns); }))
      errors.push_back({where, "no parameter of " + store.part + " matches '" + one + "'", "",
                        std::string("use * for any text, as in *attn*") + (groups.empty() ? "" : ", or a name for several: " + groups), "E1032", Exit::config});
  if (!errors.empty()) throw Failure(std::move(errors));
}

// Beside an adapter only what the base does not have is trained: a first layer widened for the task, and what the model
// adds to its weights.
static bool is_new(const Session& session, const std::string& name) {
  const Json& about = session.model->about().at("parts").at(session.model->denoiser());
  const auto added = about.value("added", std::vector<std::string>());
  return name == session.model->widened() || std::ranges::any_of(added, [&](const std::string& begin) { return name.starts_with(begin); });
}

ParamStore& load_denoiser(Session& session, const Config& config, at::ScalarType dtype) {
  const std::string part = session.model->denoiser();
  ParamStore& store = session.model->build(part);
  store.keeps_gradients = !config.optimizer.fused_backward;
  if (config.train.blocks_to_swap)
    store.swap = std::make_shared<BlockSwap>(config.train.blocks_to_swap, session.device, slot_copies_for(session.device), "train.blocks_to_swap");
  const bool frozen = denoiser_is_frozen(config);
  if (!config.lora.rank) {
    if (!frozen) require_matches(session, config);
    host_text_encoders(session, config, store);
    const std::vector<std::string> trained = expand_groups(config.train.parameters, session.model->about());
    // With everything trained, what is left are constants.
    const FrozenAs rest = trained.empty() && !frozen ? FrozenAs::the_part : FrozenAs::model_dtype;
    load_part(session, config, part, dtype, [&](const std::string& name) { return !frozen && matches_any(name, trained); }, rest);
    load_text_encoders(session, config, dtype);
    return store;
  }
  for (const std::string& text : config.lora.text_encoders)
    if (session.model->about().at("parts").contains(text) && session.folder.find(text) && !session.model->has(text))
      load_part(session, config, text, at::kFloat, [](const std::string&) { return false; }, FrozenAs::model_dtype);
  const std::vector<AdaptedWeight> targets = adapter_targets(session, config, store);
  declare_adapter(store, config, targets);
  load_part(session, config, part, dtype, [&](const std::string& name) { return !frozen && is_new(session, name); }, FrozenAs::model_dtype);
  begin_adapter(session, config, store, targets);
  return store;
}

TrainState start_state(Session& session, const Config& config, at::ScalarType compute) {
  TrainState state;
  state.weights = &load_denoiser(session, config, dtype_from(config.train.dtype, "train.dtype"));
  state.weights->recompute.every = config.train.gradient_checkpointing ? config.train.checkpoint_every_n_blocks : 0;
  if (config.train.offload_activations) {
    state.weights->offload = offload_for(session.device);
    if (!state.weights->offload) session.notices.push_back("train.offload_activations changes nothing: a CPU's activations are in host memory already");
  }
  for (const std::string& text : config.train.text_encoders) session.model->store(text).recompute.every = state.weights->recompute.every;
  state.optimizer = Optimizer(config.optimizer, *state.weights, config.train.seed, rate_ranges(*state.weights, config));
  state.loss_scale = LossScale(session.device, compute == at::kHalf);
  if (config.train.use_ema) state.ema.start(state.optimizer.exact(), config.train.ema_decay);
  return state;
}

// A stale copy of the model on one machine would train weights that drift apart unseen.
std::vector<std::pair<std::string, std::string>> loaded_weights(Session& session) {
  std::vector<std::pair<std::string, std::string>> digests;
  for (const char* role : {"text_encoder", "vae", "denoiser"})
    for (const std::string& part : session.model->parts(role))
      if (session.model->has(part) && session.model->store(part).weight_bytes() > 0) digests.emplace_back("weights of " + part, digest_of(session.model->store(part)));
  return digests;
}

std::unique_ptr<Reducer> make_reducer(Group& group, const ParamStore& weights) {
  std::vector<ReducedParameter> reduced;
  for (const Parameter* p : weights.trained_parameters()) reduced.push_back({p->value, p->offset, p->value.numel()});
  return std::make_unique<Reducer>(group, weights.trained_grad, std::move(reduced));
}

}  // namespace t2i
