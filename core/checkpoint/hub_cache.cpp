// Finding `model.path`: a folder, or org/name in the hub's cache, whose layout is models--org--name/{refs,snapshots,
// blobs}; refs/main holds the name of a snapshot, and a snapshot's files are links into blobs.
#include "core/checkpoint/hub_cache.h"

#include <algorithm>
#include <cstdlib>

#include "core/checkpoint/model_folder.h"

namespace t2i {
namespace {

namespace stdfs = std::filesystem;

bool is_hub_name(const std::string& text) {
  size_t slash = text.find('/');
  if (slash == text.npos || text.find('/', slash + 1) != text.npos) return false;
  auto good = [](std::string_view part) {
    return !part.empty() && part.front() != '.' && part.front() != '-' &&
           std::all_of(part.begin(), part.end(),
                       [](unsigned char c) { return std::isalnum(c) || c == '.' || c == '_' || c == '-'; });
  };
  return good(std::string_view(text).substr(0, slash)) && good(std::string_view(text).substr(slash + 1));
}

std::vector<std::string> folders_in(const Path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (stdfs::directory_iterator at(folder.empty() ? "." : folder, error), end; !error && at != end;
       at.increment(error))
    if (at->is_directory(error)) names.push_back(at->path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

// The snapshot that `main` names; without that name, the only one there is.
Path snapshot_of(const Path& repository) {
  if (Result<std::string> revision = read_file(repository / "refs/main", 1000)) {
    std::string name = *revision;
    while (!name.empty() && std::isspace(static_cast<unsigned char>(name.back()))) name.pop_back();
    bool plain = !name.empty() && name.find('/') == name.npos && name != "." && name != "..";
    if (plain && stdfs::is_directory(repository / "snapshots" / name)) return repository / "snapshots" / name;
  }
  std::vector<std::string> all = folders_in(repository / "snapshots");
  return all.size() == 1 ? repository / "snapshots" / all[0] : Path();
}

}  // namespace

Path hub_cache() {
  auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
  if (std::string cache = variable("HF_HUB_CACHE"); !cache.empty()) return cache;
  if (std::string cache = variable("HUGGINGFACE_HUB_CACHE"); !cache.empty()) return cache;
  if (std::string home = variable("HF_HOME"); !home.empty()) return Path(home) / "hub";
  if (std::string cache = variable("XDG_CACHE_HOME"); !cache.empty()) return Path(cache) / "huggingface/hub";
  return Path(variable("HOME")) / ".cache/huggingface/hub";
}

std::string small_download_command(const std::string& hub_name) {
  return "hf download " + hub_name +
         " --include '*.json' --include '*/*.txt' --include '*/*.model' --exclude '*.index.json'";
}

std::string download_command(const std::string& hub_name, const std::string& part) {
  if (part.empty())
    return "hf download " + hub_name +
           " --include '*.json' --include '*/*.txt' --include '*/*.model' --include '*/*.safetensors'";
  // Whether it is a whole model or the part alone is not known: the part's weights lie in its folder, or at the top, and
  // so do a text encoder's tokenizer's files.
  const std::string words = part.starts_with("text_encoder")
                                ? " --include 'tokenizer*' --include '*.model' --include '*vocab.json' --include '*merges.txt'"
                                  " --include '*special_tokens_map.json' --include '*added_tokens.json'"
                                : "";
  return "hf download " + hub_name + " --include config.json --include '" + part + "/*.json' --include '" + part +
         "/*.safetensors' --include 'diffusion_pytorch_model*.safetensors*' --include 'model*.safetensors*'" + words;
}

Result<Path> resolve_model(const std::string& model_path, const std::string& part) {
  Path path = model_path;
  std::error_code error;
  if (stdfs::is_directory(path, error)) return path;
  if (stdfs::exists(path, error)) {
    if (is_pickle_name(path)) return *foreign_file(path, {}, 0);
    if (!part.empty())
      return Error{model_path,
                   "is a single file; a part '" + part + "' is a folder with config.json and its weights",
                   "",
                   "give the folder",
                   "E2012",
                   Exit::bad_data};
    return Error{model_path,
                 "is a single file, which holds weights alone",
                 "Configurations, tokenizers and scheduler come from a diffusers folder of the same kind of model",
                 "name that folder with model.base (--set model.base=FOLDER), or a model of the hub, which is fetched "
                 "without its weights by: " +
                     small_download_command("ORG/NAME"),
                 "E2012",
                 Exit::bad_data};
  }

  auto parent = path.has_filename() ? path.parent_path() : path.parent_path().parent_path();
  std::string last = path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
  std::string hint;
  if (std::optional<std::string> near = nearest(last, folders_in(parent)))
    hint = " Did you mean '" + (parent / *near).string() + "'?";

  if (!is_hub_name(model_path))
    return Error{
        model_path,
        "there is no such folder." + hint,
        "",
        (part.empty() ? "give a model's folder" : "give the folder of a '" + part + "' or of a model with one") +
            ", or org/name of a model that hf download has fetched",
        "E2011",
        Exit::missing};
  std::string repository =
      "models--" + model_path.substr(0, model_path.find('/')) + "--" + model_path.substr(model_path.find('/') + 1);
  Path cache = hub_cache();
  if (Path snapshot = snapshot_of(cache / repository); !snapshot.empty()) return snapshot;
  if (hint.empty())
    if (std::optional<std::string> near = nearest(repository, folders_in(cache));
        near && near->starts_with("models--")) {
      std::string name = near->substr(8);
      if (size_t dashes = name.find("--"); dashes != name.npos) name.replace(dashes, 2, "/");
      hint = " Did you mean '" + name + "'?";
    }
  return Error{model_path,
               "there is no such folder, and it is not in the cache " + cache.string() + " either." + hint,
               "t2i downloads nothing itself",
               download_command(model_path, part),
               "E2011",
               Exit::missing};
}

}  // namespace t2i
