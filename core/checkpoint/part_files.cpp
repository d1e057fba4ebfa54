#include "core/checkpoint/part_files.h"

#include <algorithm>
#include <map>

namespace t2i {
namespace {

namespace stdfs = std::filesystem;

bool is_weights_name(const std::string& name) {
  bool stem = name.starts_with("diffusion_pytorch_model") || name.starts_with("model");
  return stem &&
         (name.ends_with(".safetensors") || (name.find(".safetensors.index") != name.npos && name.ends_with(".json")));
}

std::string five_digits(size_t number) {
  std::string text = std::to_string(number);
  return std::string(5 - std::min<size_t>(5, text.size()), '0') + text;
}

}  // namespace

std::string shard_name(const std::string& stem, size_t shard, size_t shards) {
  return stem + "-" + five_digits(shard + 1) + "-of-" + five_digits(shards) + ".safetensors";
}

namespace {

// The weights, by the name that they have → the one that they get.
std::map<std::string, std::string> plain_names(const WeightFiles& weights) {
  std::string known = (weights.index.empty() ? weights.files[0] : weights.index).filename().string();
  std::string stem = known.starts_with("diffusion_pytorch_model") ? "diffusion_pytorch_model" : "model";
  if (weights.index.empty()) return {{known, stem + ".safetensors"}};
  std::map<std::string, std::string> names;
  std::string plain_index = stem + ".safetensors.index.json";
  for (size_t i = 0; i < weights.files.size(); ++i) {
    std::string name = weights.files[i].filename().string();
    names[name] = known == plain_index ? name : shard_name(stem, i, weights.files.size());
  }
  names[known] = plain_index;
  return names;
}

Json renamed_index(const Path& path, const std::map<std::string, std::string>& names) {
  Json index = read_json(path).take();
  for (Json& file : index["weight_map"]) file = names.at(file.get<std::string>());
  if (!index.contains("metadata")) index["metadata"] = Json::object();  // readers ask for it
  return index;
}

}  // namespace

bool has_only_pickles(const ModelPart& part) {
  if (!part.own_files.empty()) return false;  // what else lies there is not the part's
  if (Result<WeightFiles> weights = weights_of(part); weights || weights.error().id != "E2001") return false;
  std::error_code error;  // a pickle of another name is no weights: a stray file beside a tokenizer, say
  for (stdfs::directory_iterator at(part.folder, error), end; !error && at != end; at.increment(error)) {
    std::string name = at->path().filename().string();
    bool weights = name.starts_with("pytorch_model") || name.starts_with("diffusion_pytorch_model");
    if (weights && is_pickle_name(name)) return true;
  }
  return false;
}

std::vector<PartFile> part_files(const ModelPart& part) {
  Result<WeightFiles> weights = weights_of(part);
  std::map<std::string, std::string> names;
  if (weights) names = plain_names(*weights);

  std::vector<PartFile> files;
  std::error_code error;
  for (const std::string& name : part.own_files)
    if (stdfs::exists(part.folder / name, error)) files.push_back({part.folder / name, name, {}});
  if (!part.own_files.empty()) return std::ranges::sort(files, {}, &PartFile::to), files;
  // As in the hub's cache, files and folders may be links.
  auto links = stdfs::directory_options::follow_directory_symlink;
  for (stdfs::recursive_directory_iterator at(part.folder, links, error), end; !error && at != end;
       at.increment(error)) {
    if (at->is_directory() || is_pickle_name(at->path())) continue;
    Path to = at->path().lexically_relative(part.folder);
    std::string name = to.string();  // that of the weights only where it lies in the part's folder itself
    auto weight = names.find(name);
    if (weight == names.end()) {
      if (!part.given.empty() && name != "config.json") continue;
      if (names.empty() || at.depth() || !is_weights_name(name)) files.push_back({at->path(), to, {}});
      continue;
    }
    bool changed_index = at->path() == weights->index && name != weight->second;
    files.push_back({at->path(), weight->second, changed_index ? renamed_index(at->path(), names) : Json()});
  }
  if (error)
    fail({part.folder.string(), "the files of this part cannot be listed: " + error.message(), "",
          "put the model's folder back, then run the same command again", "E4104", Exit::missing});
  std::ranges::sort(files, {}, &PartFile::to);
  return files;
}

}  // namespace t2i
