#include "core/train/adapter.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/adapters.h"
#include "core/train/pattern.h"
#include "core/train/saved_state.h"

namespace t2i {
namespace {

constexpr const char* everything = "all";

std::string where_set(const Config& config, const std::string& key) {
  auto at = config.positions.find(key);
  return at == config.positions.end() ? key : at->second;
}

bool is_layer(const Parameter& p) {
  return p.init != "buffer" && p.name.ends_with(".weight") && (p.shape.size() == 2 || p.shape.size() == 4);
}

int64_t inputs_of(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (size_t i = 1; i < shape.size(); ++i) n *= shape[i];
  return n;
}

int64_t width_of(const Parameter& p) { return std::min(p.shape[0], inputs_of(p.shape)); }

// What a word of lora.targets means. The family may say what "all" is; else it is every layer.
std::vector<std::string> patterns_of(const std::string& target, const Json& about) {
  const bool known = about.value("parameter_groups", Json::object()).contains(target);
  return target == everything && !known ? std::vector<std::string>{"*"} : expand_groups({target}, about);
}

std::string factor_name(const std::string& weight, const char* factor) { return layer_of(weight) + "." + factor; }

const Parameter& added(const ParamStore& store, const std::map<std::string, size_t>& index, const std::string& weight, const char* factor) {
  return store.added[index.at(factor_name(weight, factor))];
}

std::map<std::string, size_t> index_of_added(const ParamStore& store) {
  std::map<std::string, size_t> index;
  for (size_t i = 0; i < store.added.size(); ++i) index[store.added[i].name] = i;
  return index;
}

// Fills the factors from a file that has just these layers with this rank.
void read_factors(Session& session, const Config& config, ParamStore& store, const std::vector<std::string>& targets) {
  const SessionAdapterNames names(session);
  const OpenedAdapter opened = open_adapter(names, config.lora.init_from, 1);
  for (const std::string& notice : opened.notices) session.notices.push_back(notice);
  const std::map<std::string, size_t> index = index_of_added(store);
  const double scale = adapter_scale(config.lora);
  std::map<std::string, const LowRank*> found;
  std::vector<std::string> missing, more, ranks;
  for (const LayerAdapter& layer : opened.layers)
    if (layer.part->name != store.part || !std::ranges::count(targets, layer.weight->name))
      more.push_back(layer.part->name + "." + layer_of(layer.weight->name));
    else found[layer.weight->name] = &layer.low_rank;
  for (const std::string& target : targets) {
    auto it = found.find(target);
    if (it == found.end()) missing.push_back(layer_of(target));
    else if (it->second->down.size(0) != *config.lora.rank) ranks.push_back(fmt::format("{} has {}", layer_of(target), it->second->down.size(0)));
  }
  const std::string where = where_set(config, "lora.init_from"), file = config.lora.init_from;
  std::vector<Error> errors;
  auto differs = [&](const std::vector<std::string>& names_of, const char* what, const char* todo) {
    if (!names_of.empty())
      errors.push_back({where, fmt::format("{}: {} {}, {} among them", file, names_of.size(), what, names_of.front()), "", todo, "E7114", Exit::config});
  };
  differs(missing, "layers that lora.targets names are not in it", "set lora.targets to what it has");
  differs(more, "of its layers are not among lora.targets", "set lora.targets to what it has");
  differs(ranks, "layers of it have another rank than lora.rank", "set lora.rank to what it has");
  const bool has_magnitudes = std::ranges::any_of(found, [](const auto& f) { return f.second->magnitude.defined(); });
  if (errors.empty() && has_magnitudes != config.lora.use_dora)
    errors.push_back({where, fmt::format("{} is {} adapter, and lora.use_dora is {}", file, has_magnitudes ? "a DoRA" : "a plain", config.lora.use_dora), "",
                      fmt::format("set lora.use_dora: {}", has_magnitudes), "E7114", Exit::config});
  if (!errors.empty()) throw Failure(std::move(errors));
  for (const auto& [target, low_rank] : found) {
    added(store, index, target, "lora_A.weight").value.copy_(low_rank->down);
    added(store, index, target, "lora_B.weight").value.copy_(low_rank->up * (low_rank->scale / scale));
    if (low_rank->magnitude.defined()) added(store, index, target, "lora_magnitude_vector").value.copy_(low_rank->magnitude);
  }
  if (!opened.full) return;
  for (const Parameter& p : store.parameters)
    if (const TensorEntry* entry = opened.full->find(store.part + "." + p.name); entry && entry->shape == p.shape) p.value.copy_(stored_tensor(*entry));
}

}  // namespace

double adapter_scale(const LoraConfig& lora) {
  const double rank = static_cast<double>(*lora.rank);
  return lora.alpha / (lora.use_rslora ? std::sqrt(rank) : rank);
}

std::vector<std::string> adapter_targets(Session& session, const Config& config, const ParamStore& store) {
  const Json& about = session.model->about();
  const std::string where = where_set(config, "lora.targets");
  std::vector<Error> errors;
  std::vector<std::string> targets, narrow, left_out;
  auto matching = [&](const Parameter& p, const std::vector<std::string>& patterns) {
    return is_layer(p) && p.name != session.model->widened() && matches_any(p.name, patterns);
  };
  std::string words = everything;
  const Json groups = about.value("parameter_groups", Json::object());
  for (const auto& [word, patterns] : groups.items()) words += ", " + word;
  std::vector<std::string> named;  // patterns of what was asked for by another name than "all"
  for (const std::string& target : config.lora.targets) {
    const std::vector<std::string> patterns = patterns_of(target, about);
    if (std::ranges::none_of(store.parameters, [&](const Parameter& p) { return matching(p, patterns); }))
      errors.push_back({where, fmt::format("no linear or convolution layer of {} matches '{}'", store.part, target), "",
                        fmt::format("use * for any text, as in *.to_q.weight, or a name for several: {}", words), "E7100", Exit::config});
    if (target != everything) named.insert(named.end(), patterns.begin(), patterns.end());
  }
  if (!errors.empty()) throw Failure(std::move(errors));
  const bool all = std::ranges::count(config.lora.targets, everything) > 0;
  for (const Parameter& p : store.parameters) {
    const bool asked = !named.empty() && matching(p, named);
    if (!asked && !(all && matching(p, patterns_of(everything, about)))) continue;
    const bool fits = *config.lora.rank <= width_of(p);
    if (fits) targets.push_back(p.name);
    else (asked ? narrow : left_out).push_back(fmt::format("{} is {} wide", layer_of(p.name), width_of(p)));
  }
  if (!narrow.empty() || targets.empty()) {
    const std::vector<std::string>& list = narrow.empty() ? left_out : narrow;
    fail({where_set(config, "lora.rank"),
          fmt::format("lora.rank = {} is above the width of {} layers of {}, {} among them", *config.lora.rank, list.size(), store.part, list.front()),
          "Such an adapter would be larger than the layer", "lower lora.rank, or name other layers in lora.targets", "E7101", Exit::config});
  }
  if (!left_out.empty())
    session.notices.push_back(fmt::format("lora.targets: {} layers are narrower than lora.rank and were left out: {}{}", left_out.size(), left_out.front(),
                                          left_out.size() > 1 ? "; …" : ""));
  return targets;
}

void declare_adapter(ParamStore& store, const Config& config, const std::vector<std::string>& targets) {
  const int64_t rank = *config.lora.rank;
  for (const std::string& target : targets) {
    std::vector<int64_t> down = store.find(target)->shape, up(down.size(), 1);
    const int64_t outputs = std::exchange(down[0], rank);
    up[0] = outputs, up[1] = rank;
    store.add(factor_name(target, "lora_A.weight"), down, "default");
    store.add(factor_name(target, "lora_B.weight"), up, "zeros");
    if (config.lora.use_dora) store.add(factor_name(target, "lora_magnitude_vector"), {outputs}, "ones");
  }
}

void begin_adapter(Session& session, const Config& config, ParamStore& store, const std::vector<std::string>& targets) {
  at::NoGradGuard no_grad;
  const std::map<std::string, size_t> index = index_of_added(store);
  for (Parameter& p : store.added) ParamStore::initialize(p, static_cast<uint64_t>(config.train.seed));
  for (Parameter& weight : store.parameters) {
    if (!std::ranges::count(targets, weight.name)) continue;
    LowRank l{added(store, index, weight.name, "lora_A.weight").value, added(store, index, weight.name, "lora_B.weight").value,
              adapter_scale(config.lora), config.lora.dropout, {}};
    if (config.lora.use_dora) {
      l.magnitude = added(store, index, weight.name, "lora_magnitude_vector").value;
      l.magnitude.copy_(row_lengths(weight.value));
    }
    weight.adapter = std::make_shared<const Adapter>(Adapter{{std::move(l)}});
  }
  if (!config.lora.init_from.empty()) read_factors(session, config, store, targets);
}

std::vector<LayerAdapter> trained_layers(const ParamStore& store, const at::Tensor& flat, const LoraConfig& lora, const AdapterPart& part) {
  at::NoGradGuard no_grad;
  const at::Tensor host = flat.detach().to(at::kCPU, at::kFloat);
  const std::map<std::string, size_t> index = index_of_added(store);
  std::vector<LayerAdapter> layers;
  for (const NamedShape& weight : part.weights) {
    if (!index.contains(factor_name(weight.name, "lora_A.weight"))) continue;
    auto value = [&](const char* factor) { return view_of(host, added(store, index, weight.name, factor)); };
    LayerAdapter layer{&part, &weight, {value("lora_A.weight"), value("lora_B.weight"), adapter_scale(lora), 0, {}}};
    if (lora.use_dora) layer.low_rank.magnitude = value("lora_magnitude_vector");
    layers.push_back(std::move(layer));
  }
  return layers;
}

std::string adapter_summary(const ParamStore& store, const LoraConfig& lora) {
  if (!lora.rank) return "";
  const auto layers = std::ranges::count_if(store.parameters, [](const Parameter& p) { return p.adapter != nullptr; });
  const char *kind = lora.use_dora ? "DoRA" : "LoRA", *how = lora.use_rslora ? " over its root (rsLoRA)" : "";
  return fmt::format("{}: rank {}, alpha {}{}, beside {} layers of {}", kind, *lora.rank, lora.alpha, how, layers, store.part);
}

}  // namespace t2i
