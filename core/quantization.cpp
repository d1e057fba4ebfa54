#include "core/quantization.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/base/number_text.h"
#include "core/model/tensor_source.h"
#include "core/train/pattern.h"

namespace t2i {
namespace {

std::string module_of(const std::string& weight) {
  const std::string ending = ".weight";
  return weight.ends_with(ending) ? weight.substr(0, weight.size() - ending.size()) : weight;
}

// The first packed tensor, if any.
const TensorEntry* first_packed(const WeightSet& weights) {
  for (const auto& [name, entry] : weights.tensors)
    if (is_packed(*entry) && (entry->dtype == Dtype::i8 || !beside(weights, *entry).empty())) return entry;
  return nullptr;
}

// A weight that was widened for the task and is not trained: what is added sees nothing (core/model/load.cpp).
TensorSource widened_source(const Parameter& p, const TensorEntry& entry, const WeightSet& weights) {
  TensorSource source{p.name, entry.dtype, p.shape, {}, {}};
  source.produce = [&entry, &weights, shape = p.shape](const ByteSink& sink) {
    const at::Tensor narrow = stored_tensor(entry);
    const at::Tensor wide = at::zeros(shape, narrow.options());
    wide.narrow(1, 0, narrow.size(1)).copy_(narrow);
    sink(std::span(static_cast<const std::byte*>(wide.const_data_ptr()), wide.nbytes()));
    weights.unload(entry);
  };
  return source;
}

// Adds to the modules that readers must not take for packed ones.
void skip_modules(Json& config, const std::vector<std::string>& more) {
  if (!config.contains("quantization_config") || more.empty()) return;
  Json& list = config["quantization_config"]["llm_int8_skip_modules"];
  if (!list.is_array()) list = Json::array();
  for (const std::string& module : more)
    if (std::ranges::find(list, Json(module)) == list.end()) list.push_back(module);
}

}  // namespace

std::string quantization_of(const Session& session, const ModelConfig& model, const std::string& part) {
  const std::string role = session.model->about().at("parts").value(part, Json::object()).value("role", "");
  return role == "denoiser" ? model.quantization : role == "text_encoder" ? model.text_encoder_quantization : "none";
}

bool may_be_packed(const LoadRules& rules, const std::string& name, const std::vector<int64_t>& shape) {
  return shape.size() >= 2 && name != rules.widened && (rules.not_packed.empty() || !matches_any(name, rules.not_packed));
}

std::function<bool(const Parameter&)> packing_of(const WeightSet& weights, LoadRules& rules, const std::string& asked, const std::string& key) {
  rules.packing = packed_form(asked);
  if (const TensorEntry* there = first_packed(weights); there && rules.packing && form_of(*there) != *rules.packing)
    fail({key, fmt::format("asks for {}, but {} is packed as {} already", asked, rules.where, packed_word(form_of(*there))),
          "What was lost in packing does not come back", "leave it out, or start from the unpacked weights", "E7153", Exit::config});
  return [&weights, rules](const Parameter& p) {
    const TensorEntry* entry = find_tensor(weights, p.name, rules);
    if (!entry) return false;
    if (is_packed(*entry)) return p.name != rules.widened;
    return rules.packing.has_value() && p.init != "buffer" && may_be_packed(rules, p.name, p.shape);
  };
}

bool holds_packed(const WeightSet& weights) { return first_packed(weights) != nullptr; }

std::vector<TensorSource> sources_in_form(const Session& session, const ModelPart& part, const WeightSet& weights, const std::string& asked,
                                          std::optional<at::ScalarType> dtype, Json& config) {
  LoadRules rules = load_rules(session, part.name);
  if (!asked.empty()) packing_of(weights, rules, asked, part.name == session.model->denoiser() ? "--quantization" : "--text-encoder-quantization");
  if (holds_packed(weights)) rules.packing.reset();  // its configuration tells what is packed, and that stays
  std::set<const TensorEntry*> beside_codes, matrices, parameters;
  std::vector<std::string> skipped;
  for (const NamedShape& p : session.model->declared(part.name)) {
    const TensorEntry* entry = find_tensor(weights, p.name, rules);
    parameters.insert(entry);
    if (!entry || is_packed(*entry) || p.shape.size() != 2) continue;
    if (may_be_packed(rules, p.name, p.shape)) matrices.insert(entry);
    else skipped.push_back(module_of(entry->name));
  }
  std::vector<TensorSource> sources;
  for (const auto& [name, entry] : weights.tensors)
    if (is_packed(*entry))
      for (const TensorEntry* one : beside(weights, *entry)) beside_codes.insert(one);
  auto add = [&](std::vector<TensorSource> more) { std::ranges::move(more, std::back_inserter(sources)); };
  for (const auto& [name, entry] : weights.tensors) {
    const bool left_out = !part.file.empty() && !parameters.contains(entry);  // a single file may hold anything
    if (left_out || beside_codes.contains(entry)) continue;
    const bool packed = is_packed(*entry) && (entry->dtype == Dtype::i8 || !beside(weights, *entry).empty());
    if (packed && asked == "none") sources.push_back(unpacking_source(name, *entry, weights, dtype, rules.where));
    else if (packed) add(packed_sources(name, *entry, weights));
    else if (rules.packing && matrices.contains(entry)) add(packing_sources(name, *entry, weights, *rules.packing, dtype));
    else sources.push_back(converted_source(name, *entry, weights, dtype, /*no_float8=*/true));
  }
  if (asked == "none") config.erase("quantization_config");
  if (rules.packing)
    config["quantization_config"] = quantization_config(*rules.packing, dtype.value_or(at::kBFloat16), skipped);
  return sources;
}

std::vector<TensorSource> sources_beside_trained(const Session& session, const ParamStore& store, const WeightSet& weights,
                                                 const std::function<TensorSource(const Parameter&)>& trained, Json& config) {
  const LoadRules rules = load_rules(session, store.part);
  std::vector<TensorSource> sources;
  std::vector<std::string> no_longer_packed;
  for (const Parameter& p : store.parameters) {
    const TensorEntry* entry = find_tensor(weights, p.name, rules);
    if (p.trainable || !entry) {
      sources.push_back(trained(p));
      if (entry && is_packed(*entry)) no_longer_packed.push_back(module_of(p.name));
    } else if (is_packed(*entry)) {
      std::ranges::move(packed_sources(p.name, *entry, weights), std::back_inserter(sources));
    } else if (p.name == rules.widened && entry->shape != p.shape) {
      sources.push_back(widened_source(p, *entry, weights));
    } else {
      sources.push_back(converted_source(p.name, *entry, weights, std::nullopt, /*no_float8=*/true));
    }
  }
  skip_modules(config, no_longer_packed);
  return sources;
}

std::string packed_text(const Session& session) {
  std::map<std::string, std::string> parts_by_form;
  for (const char* role : {"text_encoder", "denoiser"})
    for (const std::string& part : session.model->parts(role)) {
      if (!session.model->has(part)) continue;
      const ParamStore& store = session.model->store(part);
      auto packed = std::ranges::find_if(store.parameters, [](const Parameter& p) { return p.packed != nullptr; });
      if (packed == store.parameters.end()) continue;
      std::string& list = parts_by_form[packed_word(packed->packed->form)];
      list += fmt::format("{}{} ({})", list.empty() ? "" : ", ", part, bytes_text(store.packed_bytes()));
    }
  std::string text;
  for (const auto& [form, parts] : parts_by_form) text += (text.empty() ? "packed as " : "; as ") + form + ": " + parts;
  return text;
}

}  // namespace t2i
