#include "core/train/adapter.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/adapters.h"
#include "core/config/rates.h"
#include "core/model/frozen_layer.h"
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

// What a word of lora.targets means. The family may say what "all" is; else it is every layer.
std::vector<std::string> patterns_of(const std::string& target, const Json& about) {
  const bool known = about.value("parameter_groups", Json::object()).contains(target);
  return target == everything && !known ? std::vector<std::string>{"*"} : expand_groups({target}, about);
}

std::string factor_name(const ParamStore& denoiser, const std::string& part, const std::string& weight, const char* factor) {
  return (part == denoiser.part ? "" : part + ".") + layer_of(weight) + "." + factor;
}

// The factors by their names.
class Factors {
  const ParamStore& denoiser_;
  std::map<std::string, size_t> index_;

 public:
  explicit Factors(const ParamStore& denoiser) : denoiser_(denoiser) {
    for (size_t i = 0; i < denoiser.added.size(); ++i) index_[denoiser.added[i].name] = i;
  }
  bool has(const std::string& part, const std::string& weight) const {
    return index_.contains(factor_name(denoiser_, part, weight, "lora_A.weight"));
  }
  const Parameter& of(const std::string& part, const std::string& weight, const char* factor) const {
    return denoiser_.added[index_.at(factor_name(denoiser_, part, weight, factor))];
  }
};

// Fills the factors from a file that has just these layers with this rank.
void read_factors(Session& session, const Config& config, ParamStore& denoiser, const std::vector<AdaptedWeight>& targets) {
  const SessionAdapterNames names(session);
  const OpenedAdapter opened = open_adapter(names, config.lora.init_from, 1);
  for (const std::string& notice : opened.notices) session.notices.push_back(notice);
  const Factors factors(denoiser);
  const double scale = adapter_scale(config.lora);
  using Place = std::pair<std::string, std::string>;  // part, weight
  std::map<Place, const LowRank*> found;
  std::vector<std::string> missing, more, ranks;
  for (const LayerAdapter& layer : opened.layers)
    if (factors.has(layer.part->name, layer.weight->name)) found[{layer.part->name, layer.weight->name}] = &layer.low_rank;
    else more.push_back(layer.part->name + "." + layer_of(layer.weight->name));
  for (const AdaptedWeight& target : targets) {
    auto it = found.find({target.part, target.name});
    if (it == found.end()) missing.push_back(layer_of(target.name));
    else if (it->second->down.size(0) != *config.lora.rank) ranks.push_back(fmt::format("{} has {}", layer_of(target.name), it->second->down.size(0)));
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
  for (const auto& [place, low_rank] : found) {
    const auto& [part, weight] = place;
    factors.of(part, weight, "lora_A.weight").value.copy_(low_rank->down);
    factors.of(part, weight, "lora_B.weight").value.copy_(low_rank->up * (low_rank->scale / scale));
    if (low_rank->magnitude.defined()) factors.of(part, weight, "lora_magnitude_vector").value.copy_(low_rank->magnitude);
  }
  if (!opened.full) return;
  for (const Parameter& p : denoiser.parameters)
    if (const TensorEntry* entry = opened.full->find(denoiser.part + "." + p.name); entry && entry->shape == p.shape) p.value.copy_(stored_tensor(*entry));
}

}  // namespace

double adapter_scale(const LoraConfig& lora) {
  const double rank = static_cast<double>(*lora.rank);
  return lora.alpha / (lora.use_rslora ? std::sqrt(rank) : rank);
}

static std::vector<AdaptedWeight> text_targets(Session& session, const Config& config, std::vector<Error>& errors) {
  std::vector<AdaptedWeight> targets;
  const std::vector<std::string> known = session.model->parts("text_encoder");
  for (const std::string& part : config.lora.text_encoders) {
    const Json about = session.model->about().at("parts").value(part, Json::object());
    if (!std::ranges::count(known, part) || !session.folder.find(part) || !about.contains("adapter_targets")) {
      errors.push_back({where_set(config, "lora.text_encoders"), fmt::format("'{}' is no text encoder of {} that can be adapted", part, session.folder.asked), "",
                        fmt::format("one of {}", fmt::join(known, ", ")), "E7102", Exit::config});
      continue;
    }
    const auto patterns = about["adapter_targets"].get<std::vector<std::string>>();
    for (const Parameter& p : session.model->build(part).parameters)
      if (is_layer(p) && matches_any(p.name, patterns)) targets.push_back({part, p.name, p.shape});
  }
  return targets;
}

std::vector<AdaptedWeight> adapter_targets(Session& session, const Config& config, const ParamStore& denoiser) {
  const Json& about = session.model->about();
  const std::string where = where_set(config, "lora.targets");
  auto matching = [&](const Parameter& p, const std::vector<std::string>& patterns) {
    return is_layer(p) && p.name != session.model->widened() && matches_any(p.name, patterns);
  };
  std::string words = everything;
  const Json groups = about.value("parameter_groups", Json::object());
  for (const auto& [word, patterns] : groups.items()) words += ", " + word;
  std::vector<Error> errors;
  std::vector<std::string> named;  // patterns of what was asked for by another name than "all"
  const bool frozen = denoiser_is_frozen(config);
  for (const std::string& target : frozen ? std::vector<std::string>() : config.lora.targets) {
    const std::vector<std::string> patterns = patterns_of(target, about);
    if (std::ranges::none_of(denoiser.parameters, [&](const Parameter& p) { return matching(p, patterns); }))
      errors.push_back({where, fmt::format("no linear or convolution layer of {} matches '{}'", denoiser.part, target), "",
                        fmt::format("use * for any text, as in *.to_q.weight, or a name for several: {}", words), "E7100", Exit::config});
    if (target != everything) named.insert(named.end(), patterns.begin(), patterns.end());
  }
  std::vector<AdaptedWeight> texts = text_targets(session, config, errors);
  if (!errors.empty()) throw Failure(std::move(errors));

  const bool all = !frozen && std::ranges::count(config.lora.targets, everything) > 0;
  const std::vector<std::string> every = patterns_of(everything, about);
  std::vector<AdaptedWeight> targets;
  std::vector<std::string> narrow, left_out;
  auto take = [&](AdaptedWeight weight, std::vector<std::string>& too_narrow) {
    const int64_t width = std::min(weight.shape[0], inputs_of(weight.shape));
    if (*config.lora.rank <= width) targets.push_back(std::move(weight));
    else too_narrow.push_back(fmt::format("{} ({} wide)", layer_of(weight.name), width));
  };
  for (const Parameter& p : denoiser.parameters) {
    const bool asked = !named.empty() && matching(p, named);
    if (asked || (all && matching(p, every))) take({denoiser.part, p.name, p.shape}, asked ? narrow : left_out);
  }
  const size_t of_the_denoiser = targets.size();
  for (AdaptedWeight& text : texts) take(std::move(text), narrow);
  if (!narrow.empty() || (!of_the_denoiser && !frozen)) {
    const std::vector<std::string>& list = narrow.empty() ? left_out : narrow;
    fail({where_set(config, "lora.rank"), fmt::format("lora.rank = {} is above the width of {} layers, {} among them", *config.lora.rank, list.size(), list.front()),
          "Such an adapter would be larger than the layer", "lower lora.rank, or name other layers in lora.targets", "E7101", Exit::config});
  }
  if (!left_out.empty())
    session.notices.push_back(fmt::format("lora.targets: {} layers are narrower than lora.rank and were left out: {}{}", left_out.size(), left_out.front(),
                                          left_out.size() > 1 ? "; …" : ""));
  return targets;
}

void declare_adapter(ParamStore& denoiser, const Config& config, const std::vector<AdaptedWeight>& targets) {
  const int64_t rank = *config.lora.rank;
  for (const AdaptedWeight& target : targets) {
    std::vector<int64_t> down = target.shape, up(down.size(), 1);
    const int64_t outputs = std::exchange(down[0], rank);
    up[0] = outputs, up[1] = rank;
    auto name = [&](const char* factor) { return factor_name(denoiser, target.part, target.name, factor); };
    denoiser.add(name("lora_A.weight"), down, "default");
    denoiser.add(name("lora_B.weight"), up, "zeros");
    if (config.lora.use_dora) denoiser.add(name("lora_magnitude_vector"), {outputs}, "ones");
  }
}

void begin_adapter(Session& session, const Config& config, ParamStore& denoiser, const std::vector<AdaptedWeight>& targets) {
  at::NoGradGuard no_grad;
  const Factors factors(denoiser);
  for (Parameter& p : denoiser.added) ParamStore::initialize(p, static_cast<uint64_t>(config.train.seed));
  std::set<std::string> parts;
  for (const AdaptedWeight& target : targets) parts.insert(target.part);
  for (const std::string& part : parts)
    for (Parameter& weight : session.model->store(part).parameters) {
      if (!factors.has(part, weight.name)) continue;
      LowRank l{factors.of(part, weight.name, "lora_A.weight").value, factors.of(part, weight.name, "lora_B.weight").value,
                adapter_scale(config.lora), config.lora.dropout, {}};
      if (config.lora.use_dora) {
        l.magnitude = factors.of(part, weight.name, "lora_magnitude_vector").value;
        l.magnitude.copy_(row_lengths(frozen_weight(weight).in(at::kFloat)));
      }
      weight.adapter = std::make_shared<const Adapter>(Adapter{{std::move(l)}});
    }
  if (!config.lora.init_from.empty()) read_factors(session, config, denoiser, targets);
}

std::vector<LayerAdapter> trained_layers(const ParamStore& denoiser, const at::Tensor& flat, const LoraConfig& lora, const AdapterPart& part) {
  at::NoGradGuard no_grad;
  const at::Tensor host = flat.detach().to(at::kCPU, at::kFloat);
  const Factors factors(denoiser);
  std::vector<LayerAdapter> layers;
  for (const NamedShape& weight : part.weights) {
    if (!factors.has(part.name, weight.name)) continue;
    auto value = [&](const char* factor) { return view_of(host, factors.of(part.name, weight.name, factor)); };
    LayerAdapter layer{&part, &weight, {value("lora_A.weight"), value("lora_B.weight"), adapter_scale(lora), 0, {}}};
    if (lora.use_dora) layer.low_rank.magnitude = value("lora_magnitude_vector");
    layers.push_back(std::move(layer));
  }
  return layers;
}

std::string adapter_summary(const Session& session, const LoraConfig& lora) {
  if (!lora.rank) return "";
  std::string beside;
  std::vector<std::string> parts{session.model->denoiser()};
  parts.insert(parts.end(), lora.text_encoders.begin(), lora.text_encoders.end());
  for (const std::string& part : parts) {
    const auto layers = std::ranges::count_if(session.model->store(part).parameters, [](const Parameter& p) { return p.adapter != nullptr; });
    if (layers) beside += fmt::format("{}{} layers of {}", beside.empty() ? "" : " and ", layers, part);
  }
  const char *kind = lora.use_dora ? "DoRA" : "LoRA", *how = lora.use_rslora ? " over its root (rsLoRA)" : "";
  return fmt::format("{}: rank {}, alpha {}{}, beside {}", kind, *lora.rank, lora.alpha, how, beside);
}

}  // namespace t2i
