#include "core/checkpoint/adapter_names.h"

#include <algorithm>
#include <map>

namespace t2i {
namespace {

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size())) text.replace(at, from.size(), to);
  return text;
}

// As diffusers named attention before it took peft's names: "attn1.processor.to_q", and "to_out" for "to_out.0".
std::string processor_name(const std::string& layer) {
  std::string name = replaced(layer, ".to_", ".processor.to_");
  if (name.ends_with(".to_out.0")) name.resize(name.size() - 2);
  return name;
}

void add_own_names(AdapterNames& names, const AdapterPart& part, const NamedShape& weight) {
  const AdapterTarget target{&part, {&weight}, FileRow::Change::none};
  const std::string layer = layer_of(weight.name), &prefix = part.optional_prefix;
  std::vector<std::string> layers{layer};
  if (!prefix.empty()) layers.push_back(layer.starts_with(prefix) ? layer.substr(prefix.size()) : prefix + layer);
  for (const std::string& name : layers) {
    names.emplace(part.name + "." + name, target);
    names.emplace(part.name + "." + processor_name(name), target);
    for (const std::string& before : part.flattened) names.emplace(before + flattened(name), target);
    if (!part.is_denoiser) continue;
    names.emplace(name, target);
    names.emplace("base_model.model." + name, target);
  }
}

void add_file_names(AdapterNames& names, const AdapterPart& part, const NamedShape& weight, const std::map<std::string, const NamedShape*>& known) {
  for (const FilePlace& place : places_of(*part.form, weight.name)) {
    if (!place.tensor.ends_with(".weight") || place.row->change == FileRow::Change::copy) continue;
    AdapterTarget target{&part, {}, place.row->change};
    for (const std::string& name : parameters_at(place, weight.name))
      if (auto found = known.find(name); found != known.end()) target.weights.push_back(found->second);
    if (target.weights.size() != place.row->parameters.size()) continue;
    const std::string layer = layer_of(place.tensor);
    for (const std::string& before : part.flattened) names.emplace(before + flattened(layer), target);
    if (part.is_denoiser) names.emplace("diffusion_model." + layer, target);
  }
}

}  // namespace

std::string layer_of(const std::string& weight) { return weight.substr(0, weight.size() - std::string(".weight").size()); }

std::string flattened(std::string name) {
  std::ranges::replace(name, '.', '_');
  return name;
}

std::vector<std::string> usual_prefixes(const std::string& part, bool is_denoiser) {
  if (is_denoiser) return {"lora_unet_", "lora_transformer_", "lycoris_"};  // the first whatever the network is
  const size_t line = part.rfind('_');
  const std::string number = line == part.npos ? "" : part.substr(line + 1);
  if (number.size() == 1 && number[0] >= '2' && number[0] <= '9') return {"lora_te" + number + "_"};
  return {"lora_te1_", "lora_te_"};
}

AdapterNames adapter_names(const std::vector<AdapterPart>& parts) {
  AdapterNames names;
  for (const AdapterPart& part : parts)
    for (const NamedShape& weight : part.weights) add_own_names(names, part, weight);
  for (const AdapterPart& part : parts) {
    if (!part.form) continue;
    std::map<std::string, const NamedShape*> known;
    for (const NamedShape& weight : part.weights) known[weight.name] = &weight;
    for (const NamedShape& weight : part.weights) add_file_names(names, part, weight, known);
  }
  return names;
}

}  // namespace t2i
