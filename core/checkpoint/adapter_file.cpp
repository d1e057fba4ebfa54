#include "core/checkpoint/adapter_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cmath>
#include <map>

#include "core/base/json.h"

namespace t2i {
namespace {

enum class Role { down, up, alpha, magnitude };

// What follows a layer's name; longer ones first where one ends in another.
constexpr std::array<std::pair<std::string_view, Role>, 15> endings{{
    {".lora_linear_layer.down.weight", Role::down}, {".lora_linear_layer.up.weight", Role::up},
    {".lora_A.default.weight", Role::down}, {".lora_B.default.weight", Role::up},
    {".lora_A.weight", Role::down}, {".lora_B.weight", Role::up},
    {".lora_down.weight", Role::down}, {".lora_up.weight", Role::up},
    {".lora.down.weight", Role::down}, {".lora.up.weight", Role::up},
    {"_lora.down.weight", Role::down}, {"_lora.up.weight", Role::up},
    {".alpha", Role::alpha}, {".dora_scale", Role::magnitude}, {".lora_magnitude_vector", Role::magnitude},
}};

// Pieces of other kinds of adapters' names (".diff": their ends), whose tensors would be taken for nothing.
constexpr std::array<std::pair<std::string_view, std::string_view>, 7> other_kinds{{
    {".hada_w", "LoHa"}, {".lokr_w", "LoKr"}, {".oft_", "OFT"}, {".lora_mid.", "LoRA with a core tensor"}, {".lora_B.bias", "LoRA with a bias"},
    {".diff", "whole-tensor"}, {".diff_b", "whole-tensor"},
}};

std::string few(const std::vector<std::string>& all) {
  std::vector<std::string> some(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(std::min<size_t>(all.size(), 3)));
  return fmt::format("{}{}", fmt::join(some, "; "), all.size() > 3 ? "; …" : "");
}

std::optional<std::pair<std::string, Role>> split(const std::string& name) {
  std::string_view plain = name;
  if (plain.ends_with(".lora_magnitude_vector.weight")) plain.remove_suffix(7);
  for (const auto& [end, role] : endings)
    if (plain.ends_with(end)) return std::pair(std::string(plain.substr(0, plain.size() - end.size())), role);
  return std::nullopt;
}

int64_t elements(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

// Empty where the tensors fit the layer.
std::string misfit(AdapterLayer& layer) {
  const NamedShape& first = *layer.target->weights.front();
  int64_t rows = 0;
  for (const NamedShape* w : layer.target->weights) rows += w->shape[0];
  const int64_t inputs = elements(first.shape) / first.shape[0];
  layer.rank = layer.down->shape.empty() ? 0 : layer.down->shape[0];
  const bool fits = layer.rank > 0 && !layer.up->shape.empty() && layer.down->elements() == layer.rank * inputs && layer.up->elements() == layer.rank * rows &&
                    layer.up->shape[0] == rows && (!layer.magnitude || layer.magnitude->elements() == rows) &&
                    (!layer.alpha || layer.alpha->elements() == 1);
  if (fits) return "";
  return fmt::format("{} is [{}] x [{}], the layer [{},{}]", layer.name, fmt::join(layer.up->shape, ","), fmt::join(layer.down->shape, ","), rows, inputs);
}

// The header that diffusers writes: {"unet.r": 16, "unet.lora_alpha": 8, "unet.alpha_pattern": {…}, …}. Patterns are layers'
// names or the ends of them, with '^' for the beginning.
class HeaderScales {
  Json header_;

  double pick(const std::string& part, const char* usual, const char* pattern, const std::string& layer, double otherwise) const {
    const Json by_layer = header_.value(part + "." + pattern, Json::object());
    for (const auto& [key, value] : by_layer.items()) {
      const std::string name = key.starts_with('^') ? key.substr(1) : key;
      if (value.is_number() && (layer == name || layer.ends_with("." + name))) return value;
    }
    const Json all = header_.value(part + "." + usual, Json());
    return all.is_number() ? all.get<double>() : otherwise;
  }

 public:
  explicit HeaderScales(const SafetensorsFile& file) {
    if (auto found = file.metadata.find("lora_adapter_metadata"); found != file.metadata.end())
      header_ = Json::parse(found->second, nullptr, /*allow_exceptions=*/false);
    if (!header_.is_object()) header_ = Json::object();
  }

  std::optional<double> of(const AdapterLayer& layer) const {
    const std::string &part = layer.target->part->name, own = layer_of(layer.target->weights.front()->name);
    if (!header_.contains(part + ".lora_alpha")) return std::nullopt;
    const double rank = static_cast<double>(layer.rank), alpha = pick(part, "lora_alpha", "alpha_pattern", own, rank);
    return alpha / (header_.value(part + ".use_rslora", Json(false)) == Json(true) ? std::sqrt(rank) : rank);
  }
};

void check_kind(const SafetensorsFile& file, const std::string& where) {
  for (const TensorEntry& tensor : file.tensors)
    for (const auto& [piece, kind] : other_kinds)
      if (piece.starts_with(".diff") ? tensor.name.ends_with(piece) : tensor.name.find(piece) != tensor.name.npos)
        fail({where, fmt::format("is a {} adapter, as '{}' tells", kind, tensor.name), "t2i reads LoRA, rsLoRA and DoRA",
              "merge it into its base with the program that made it, and use the merged model", "E7113", Exit::bad_data});
}

Error belongs_elsewhere(const AdapterFile& adapter, const std::string& model) {
  return {adapter.where,
          fmt::format("has no layer in common with {}", model),
          adapter.unknown.empty() ? "It holds no tensors" : fmt::format("The first of its {} tensors is '{}'", adapter.unknown.size(), adapter.unknown.front()),
          "give an adapter that was trained for this kind of model",
          "E7110",
          Exit::bad_data};
}

}  // namespace

AdapterFile read_adapter_file(const Path& path, const AdapterNames& names, const std::string& model) {
  AdapterFile adapter{path.string(), open_safetensors(path).take(), {}, {}};
  check_kind(adapter.file, adapter.where);
  std::map<std::string, AdapterLayer> by_name;
  for (const auto& [tensor_name, place] : adapter.file.index) {  // by name, so that the first unknown is always the same
    const TensorEntry& tensor = adapter.file.tensors[place];
    auto parts = split(tensor_name);
    auto target = parts ? names.find(parts->first) : names.end();
    if (target == names.end()) {
      adapter.unknown.push_back(tensor_name);
      continue;
    }
    AdapterLayer& layer = by_name[parts->first];
    layer.name = parts->first, layer.target = &target->second;
    (parts->second == Role::down ? layer.down : parts->second == Role::up ? layer.up : parts->second == Role::alpha ? layer.alpha : layer.magnitude) = &tensor;
  }
  if (by_name.empty()) fail(belongs_elsewhere(adapter, model));

  const HeaderScales header(adapter.file);
  std::vector<std::string> halves, misfits;
  for (auto& [name, layer] : by_name) {
    if (!layer.down || !layer.up) {
      halves.push_back(fmt::format("{} has no {} factor", name, layer.down ? "up" : "down"));
      continue;
    }
    if (std::string text = misfit(layer); !text.empty()) misfits.push_back(text);
    if (!layer.alpha) layer.scale = header.of(layer);
    adapter.layers.push_back(layer);
  }
  std::vector<Error> errors;
  if (!halves.empty())
    errors.push_back({adapter.where, fmt::format("{} of {} layers are incomplete: {}", halves.size(), by_name.size(), few(halves)), "",
                      "get the file anew", "E7112", Exit::bad_data});
  if (!misfits.empty())
    errors.push_back({adapter.where, fmt::format("{} of {} layers have another size than {}: {}", misfits.size(), by_name.size(), model, few(misfits)),
                      "It was trained for another model of these layers' names", "use it with the model that it was trained for", "E7111", Exit::bad_data});
  if (!errors.empty()) throw Failure(std::move(errors));
  return adapter;
}

}  // namespace t2i
