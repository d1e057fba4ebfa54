#include "core/train/text_encoders.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "core/checkpoint/pipeline_folder.h"
#include "core/config/optimizer_check.h"
#include "core/config/rates.h"
#include "core/model/tensor_source.h"
#include "core/quantization.h"
#include "core/single_files.h"
#include "core/train/pattern.h"
#include "core/train/saved_state.h"

namespace t2i {
namespace {

std::string where_set(const Config& config, const std::string& key) {
  auto at = config.positions.find(key);
  return at == config.positions.end() ? key : at->second;
}

// Patterns of what the family never reads of a text encoder: nothing would change it but the decay of weights.
std::vector<std::string> unused_of(const Session& session, const std::string& part) {
  return session.model->about().at("parts").at(part).value("unused", std::vector<std::string>());
}

bool is_trained(const Parameter& p, const std::vector<std::string>& unused) { return unused.empty() || !matches_any(p.name, unused); }

}  // namespace

void require_trainable(const Session& session, const Config& config) {
  std::vector<Error> errors;
  auto note = [&](const std::string& key, const std::string& what, const std::string& why, const std::string& todo, const char* id) {
    errors.push_back({where_set(config, key), what, why, todo, id, Exit::config});
  };
  std::vector<std::string> there = session.model->parts("text_encoder");
  std::erase_if(there, [&](const std::string& part) { return !session.folder.find(part); });
  const char* list = "train.text_encoders";
  std::set<std::string> seen;
  for (const std::string& part : config.train.text_encoders) {
    if (!std::ranges::count(there, part))
      note(list, fmt::format("'{}' is no text encoder of {}", part, session.folder.asked), "", fmt::format("one of {}", fmt::join(there, ", ")), "E7330");
    else if (!seen.insert(part).second)
      note(list, fmt::format("'{}' is named twice", part), "", "name it once", "E7330");
    else if (holds_packed(weights_from(session, *session.folder.find(part), session.variant)))
      note(list, fmt::format("the weights of '{}' are packed, and what is packed is not trained in full", part), "What was lost in packing does not come back",
           "start from the unpacked weights, or train an adapter beside them: lora.text_encoders", "E7331");
  }
  const std::string& packing = config.model.text_encoder_quantization;
  if (packing != "none" && !seen.empty() && seen.size() == there.size())
    note("model.text_encoder_quantization", fmt::format("{} packs text encoders that are not trained, and every one is", packing), "",
         "leave it out, or train adapters beside them: lora.text_encoders", "E7331");
  if (denoiser_is_frozen(config) && !session.model->widened().empty())
    note("optimizer.transformer_lr", fmt::format("a rate of 0 leaves the denoiser as it is, and task '{}' widens its first layer", session.task->id()),
         "The layer's new channels are zero and would stay so", "give the denoiser a rate, or start from a model that was made for the task", "E7332");
  if (!errors.empty()) throw Failure(std::move(errors));
}

void host_text_encoders(Session& session, const Config& config, ParamStore& denoiser) {
  for (const std::string& part : config.train.text_encoders)
    denoiser.host(session.model->build(part), [unused = unused_of(session, part)](const Parameter& p) { return is_trained(p, unused); });
}

void load_text_encoders(Session& session, const Config& config, at::ScalarType dtype) {
  for (const std::string& part : config.train.text_encoders) load_part(session, config, part, dtype);
}

std::vector<RateRange> rate_ranges(const ParamStore& denoiser, const Config& config) {
  std::vector<RateRange> ranges;
  const double leading = leading_rate(config);
  if (leading == 0) return ranges;
  for (const std::string& part : trained_text_encoders(config)) {
    const double times = text_encoder_rate(config.optimizer, part) / leading;
    for (const std::vector<Parameter>* parameters : {&denoiser.guests, &denoiser.added})
      for (const Parameter& p : *parameters)
        if (p.name.starts_with(part + ".")) ranges.push_back({p.offset, p.offset + p.value.numel(), times});
  }
  return ranges;
}

TrainedCount count_trained(const Session& session, const Config& config) {
  TrainedCount all;
  auto add = [&](const std::string& part) {
    const ParamStore& store = session.model->store(part);
    all.parameters += store.count(), all.trained += store.trained_count();
  };
  add(session.model->denoiser());
  for (const std::string& part : trained_text_encoders(config)) add(part);
  return all;
}

std::string rates_text(const Session& session, const Config& config) {
  std::string text;
  const std::string denoiser = session.model->denoiser();
  if (learning_rates_are_relative(config.optimizer)) return text;
  for (const auto& [part, rate] : part_rates(config, denoiser)) text += fmt::format("{}{} {}", text.empty() ? "learning rates: " : ", ", part, rate);
  if (!text.empty() && denoiser_is_frozen(config)) text += fmt::format("; {} stays as it is", denoiser);
  return text;
}

void write_text_encoder(const Session& session, const TrainState& state, const ModelPart& part, const Path& to) {
  const ParamStore& store = session.model->store(part.name);
  const at::ScalarType type = state.weights->trained.scalar_type();
  const WeightSet read = weights_from(session, part, session.variant);
  const LoadRules rules = load_rules(session, part.name);
  std::unordered_map<const TensorEntry*, std::string> names;
  for (const auto& [name, entry] : read.tensors) names[entry] = name;
  const at::Tensor flat = shown_weights(state).to(type).to(at::kCPU);

  Json config = session.model->configuration(part.name);
  for (const char* key : {"dtype", "torch_dtype"})  // transformers opens the weights as it says
    if (config.contains(key)) config[key] = torch_name(type);
  std::vector<TensorSource> sources;
  for (const Parameter& p : store.parameters) {
    const TensorEntry* entry = find_tensor(read, p.name, rules);
    const std::string name = entry ? names.at(entry) : p.name;
    if (p.hosted) sources.push_back(tensor_source(name, view_of(flat, p)));
    else if (entry) sources.push_back(converted_source(name, *entry, read, std::nullopt, /*no_float8=*/true));
  }
  make_folders(to);
  write_json_file(to / "config.json", config);
  write_weight_files(to, part.library == "transformers" ? "model" : "diffusion_pytorch_model", std::move(sources));
  if (auto changed = read.damage()) fail(*changed);
}

}  // namespace t2i
