// Which files hold a part's weights, and all their tensors under one roof.
#include <algorithm>
#include <set>

#include "core/base/number_text.h"
#include "core/checkpoint/model_folder.h"

namespace t2i {
namespace {

namespace stdfs = std::filesystem;

const char* const stems[] = {"diffusion_pytorch_model", "model"};  // as diffusers and as transformers name them

std::string listed(const std::vector<std::string>& names, size_t most = 5) {
  std::string out;
  for (size_t i = 0; i < names.size() && i < most; ++i) out += (i ? ", " : "") + names[i];
  if (names.size() > most) out += " and " + std::to_string(names.size() - most) + " more";
  return out;
}

// What the folder offers: for each variant ("" the plain one) a single file or an index. A single file goes first.
struct Offer {
  std::map<std::string, Path> single, index;
  std::vector<std::string> others, pickles;
};

Offer offers_in(const Path& folder) {
  Offer offer;
  std::error_code error;
  std::set<std::string> names;
  for (stdfs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    names.insert(at->path().filename().string());
  auto cut = [](std::string_view text, std::string_view begin, std::string_view end) -> std::optional<std::string> {
    if (!text.starts_with(begin) || !text.ends_with(end) || text.size() < begin.size() + end.size())
      return std::nullopt;
    return std::string(text.substr(begin.size(), text.size() - begin.size() - end.size()));
  };
  // ".fp16" → "fp16"; a shard's own name, "-00001-of-00002", is no variant.
  auto variant_of = [](const std::string& between) -> std::optional<std::string> {
    if (between.empty()) return between;
    if (between.front() != '.' || between.find("-of-") != between.npos) return std::nullopt;
    return between.substr(1);
  };
  for (const std::string& name : names) {
    bool known = false;
    for (std::string stem : stems) {
      if (auto middle = cut(name, stem, ".safetensors"))
        if (auto variant = variant_of(*middle)) known = offer.single.emplace(*variant, folder / name).second;
      if (auto middle = cut(name, stem + ".safetensors.index", ".json"))  // model.safetensors.index.fp16.json
        if (auto variant = variant_of(*middle)) known = offer.index.emplace(*variant, folder / name).second;
      if (auto middle = cut(name, stem, ".safetensors.index.json"); middle && !middle->empty())
        if (auto variant = variant_of(*middle)) known = offer.index.emplace(*variant, folder / name).second;
    }
    if (!known && name.ends_with(".safetensors")) offer.others.push_back(name);
    if (is_pickle_name(name)) offer.pickles.push_back(name);
  }
  return offer;
}

size_t line_of(const std::string& text, const std::string& word) {
  size_t at = text.find('"' + word + '"');
  return at == text.npos
             ? 1
             : 1 + static_cast<size_t>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
}

Result<WeightFiles> shards_of(const Path& index) {
  Result<std::string> text = read_file(index);
  if (!text) return text.error();
  Result<Json> json = parse_json(*text, index.string());
  if (!json) return json.error();
  auto wrong = [&](const std::string& what) {
    return Error{index.string(), what, "", "get the file anew, with all its shards", "E2015", Exit::bad_data};
  };
  if (!json->is_object() || !json->contains("weight_map") || !(*json)["weight_map"].is_object())
    return wrong("has no object 'weight_map'");
  WeightFiles weights;
  weights.index = index;
  std::set<std::string> names;
  for (const auto& [tensor, file] : (*json)["weight_map"].items()) {
    if (!file.is_string()) return wrong("'weight_map' gives no file name for '" + tensor + "'");
    std::string name = file.get<std::string>();
    if (name.find_first_of(std::string_view("/\\\0", 3)) != name.npos || !name.ends_with(".safetensors"))
      return wrong("'weight_map' gives '" + name + "' for '" + tensor +
                   "', which is not the name of a .safetensors file in the same folder");
    names.insert(name);
  }
  if (names.empty()) return wrong("'weight_map' lists nothing");
  std::vector<std::string> missing;
  std::error_code error;
  std::map<std::string, size_t> number;
  for (const std::string& name : names) {
    number[name] = weights.files.size();
    weights.files.push_back(index.parent_path() / name);
    if (!stdfs::exists(weights.files.back(), error)) missing.push_back(name);
  }
  if (!missing.empty())
    return Error{
        index.string() + ":" + std::to_string(line_of(*text, missing[0])),
        "lists " + listed(missing) + (missing.size() == 1 ? ", which is" : ", which are") + " not in the folder",
        "The download did not finish",
        "rerun hf download (it resumes)",
        "E2004",
        Exit::missing};
  for (const auto& [tensor, file] : (*json)["weight_map"].items())
    weights.where[tensor] = number[file.get<std::string>()];
  return weights;
}

}  // namespace

Result<WeightFiles> weights_of(const ModelPart& part, const std::string& variant) {
  Offer offer = offers_in(part.folder);
  auto found = [&](const std::string& name) -> std::optional<Result<WeightFiles>> {
    if (auto at = offer.single.find(name); at != offer.single.end()) return WeightFiles{{at->second}, {}, {}};
    if (auto at = offer.index.find(name); at != offer.index.end()) return shards_of(at->second);
    return std::nullopt;
  };
  if (auto weights = found(variant)) return *weights;

  std::set<std::string> variants;
  for (const auto& [name, path] : offer.single) variants.insert(name);
  for (const auto& [name, path] : offer.index) variants.insert(name);
  if (variant.empty() && variants.count("fp16")) return *found("fp16");
  if (variant.empty() && variants.size() == 1) return *found(*variants.begin());

  std::string where = part.folder.string();
  if (!variants.empty()) {
    std::vector<std::string> named;
    for (const std::string& v : variants) named.push_back(v.empty() ? "the plain one" : "'" + v + "'");
    return Error{
        where,
        variant.empty() ? "has no plain weights, only variants: " + listed(named)
                        : "has no variant '" + variant + "' of its weights; it has " + listed(named),
        "",
        variant.empty() ? "choose one with model.variant" : "set model.variant to one of these, or leave it out",
        "E2014",
        Exit::missing};
  }
  if (!offer.pickles.empty()) {
    Path pickle = part.folder / offer.pickles[0];
    Path target = part.folder / (std::string(stems[part.library == "transformers" ? 1 : 0]) + ".safetensors");
    return Error{pickle.string(),
                 "is a Python pickle, which can run code when opened, and the folder has no other weights",
                 "t2i only reads safetensors",
                 "download " + target.filename().string() + " of this model, or, if you trust the file, " +
                     pickle_conversion(pickle, target),
                 "E2001",
                 Exit::bad_data};
  }
  return Error{
      where,
      "has no weights: looked for diffusion_pytorch_model.safetensors, model.safetensors, their shards and variants" +
          (offer.others.empty() ? "" : "; found " + listed(offer.others)),
      "",
      "download the model with its .safetensors files",
      "E2014",
      Exit::missing};
}

const TensorEntry* WeightSet::find(std::string_view name) const {
  auto at = tensors.find(name);
  return at == tensors.end() ? nullptr : at->second;
}

std::optional<Error> WeightSet::damage() const {
  for (const SafetensorsFile& file : files)
    if (std::optional<Error> e = file.damage()) return e;
  return std::nullopt;
}

void WeightSet::unload(const TensorEntry& copied) const {
  for (const SafetensorsFile& file : files)
    if (file.map) file.map->unload(copied.bytes);
}

Result<WeightSet> open_weight_files(const WeightFiles& weights) {
  WeightSet set;
  for (const Path& path : weights.files) {
    Result<SafetensorsFile> file = open_safetensors(path);
    if (!file) return file.error();
    set.files.push_back(std::move(*file));
  }
  auto disagree = [&](const std::string& what) {
    return Error{weights.index.string(),     what,    "Index and shards are not of the same model",
                 "download the folder anew", "E2015", Exit::bad_data};
  };
  for (size_t i = 0; i < set.files.size(); ++i)
    for (const TensorEntry& tensor : set.files[i].tensors) {
      std::string file = weights.files[i].filename().string();
      if (!weights.index.empty()) {
        auto at = weights.where.find(tensor.name);
        if (at == weights.where.end())
          return disagree(file + " holds the tensor '" + tensor.name + "', which the index does not list");
        if (at->second != i)
          return disagree(file + " holds the tensor '" + tensor.name + "', which the index puts into " +
                          weights.files[at->second].filename().string());
      }
      set.tensors[tensor.name] = &tensor;
    }
  for (const auto& [name, file] : weights.where)
    if (!set.tensors.count(name))
      return disagree("lists the tensor '" + name + "' in " + weights.files[file].filename().string() +
                      ", which does not hold it");
  return set;
}

Result<WeightSet> open_weights(const ModelPart& part, const std::string& variant) {
  Result<WeightFiles> files = weights_of(part, variant);
  if (!files) return files.error();
  return open_weight_files(*files);
}

}  // namespace t2i
