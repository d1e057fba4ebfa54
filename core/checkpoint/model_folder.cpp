#include "core/checkpoint/model_folder.h"

#include <algorithm>

namespace t2i {
namespace {

namespace stdfs = std::filesystem;

std::vector<std::string> names_in(const Path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (stdfs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    names.push_back(at->path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

Error no_model(const std::string& asked, const Path& root) {
  std::error_code error;
  auto wrong = [&](const std::string& what, const std::string& todo) {
    return Error{asked, "is no model folder: it has no model_index.json" + what, "", todo, "E2012", Exit::bad_data};
  };
  for (const std::string& name : names_in(root))
    if (stdfs::exists(root / name / "model_index.json", error))
      return wrong(", but " + name + "/ has", "give '" + (root / name).string() + "'");
  if (stdfs::exists(root / "config.json", error)) {
    bool above =
        stdfs::exists(stdfs::absolute(root, error).lexically_normal().parent_path() / "model_index.json", error);
    return wrong(", only a config.json: it is one part of a model",
                 above ? "give the folder above it" : "give the whole model's folder");
  }
  for (const std::string& name : names_in(root))
    if (name.ends_with(".safetensors"))
      return wrong(
          "; " + name + " in it is a single-file model",
          "give '" + (root / name).string() + "' itself, with model.base naming a diffusers folder of the same kind of model");
  for (const std::string& name : names_in(root))
    if (is_pickle_name(name)) return *foreign_file(root / name, {}, 0);
  std::string asked_root = root.string();
  return wrong("", asked_root.find("/snapshots/") != asked_root.npos && asked_root != asked
                       ? "the download did not finish: " + download_command(asked)
                       : "give the folder that holds model_index.json");
}

// config.json, or what schedulers and image processors have in its place; tokenizers, beside which a whole repository's
// config.json may lie, have one of their own.
const std::vector<const char*> config_names = {"config.json", "scheduler_config.json", "preprocessor_config.json"};
const std::vector<const char*> tokenizer_config = {"tokenizer_config.json"};
std::optional<Error> read_config(ModelPart& part, const std::vector<const char*>& names = config_names) {
  std::error_code error;
  for (const char* name : names) {
    Path path = part.folder / name;
    if (!stdfs::exists(path, error)) continue;
    JsonRules rules;
    rules.python_numbers = true;  // schedulers' configurations hold -Infinity
    Result<Json> json = read_json(path, rules);
    if (!json) return json.error();
    if (!json->is_object())
      return Error{path.string(), "is JSON, but not an object", "", "get the file anew", "E2010", Exit::bad_data};
    part.config_path = path;
    part.config = std::move(*json);
    return std::nullopt;
  }
  return std::nullopt;
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
}

}  // namespace

const ModelPart* ModelFolder::find(std::string_view name) const {
  auto at = std::find_if(parts.begin(), parts.end(), [&](const ModelPart& p) { return p.name == name; });
  return at == parts.end() ? nullptr : &*at;
}

Result<const ModelPart*> ModelFolder::part(std::string_view name) const {
  if (const ModelPart* p = find(name)) return p;
  std::string known;
  for (const ModelPart& p : parts) known += (known.empty() ? "" : ", ") + p.name;
  if (std::find(absent.begin(), absent.end(), name) != absent.end())
    return Error{(root / "model_index.json").string(),
                 "lists the part '" + std::string(name) + "', but the folder has no " + std::string(name) + "/",
                 "",
                 asked == root.string() ? "download the model again, with that folder" : download_command(asked),
                 "E2013",
                 Exit::missing};
  return Error{(root / "model_index.json").string(),
               "this model has no part '" + std::string(name) + "'; it has " + (known.empty() ? "none" : known),
               "",
               "give a model that has one",
               "E2013",
               Exit::bad_data};
}

Result<ModelFolder> open_model_folder(const std::string& model_path) {
  Result<Path> root = resolve_model(model_path);
  if (!root) return root.error();
  Path index_path = *root / "model_index.json";
  std::error_code error;
  if (!stdfs::exists(index_path, error)) return no_model(model_path, *root);
  Result<Json> index = read_json(index_path);
  if (!index) return index.error();
  auto wrong = [&](const std::string& what) {
    return Error{index_path.string(), what, "", "get the file anew", "E2010", Exit::bad_data};
  };
  if (!index->is_object()) return wrong("is JSON, but not an object");

  ModelFolder model;
  model.asked = model_path;
  model.root = *root;
  if (index->contains("_class_name")) {
    const Json& name = (*index)["_class_name"];
    if (!name.is_string()) return wrong("'_class_name' is not a string");
    model.pipeline_class = name.get<std::string>();
  }
  for (const auto& [name, value] : index->items()) {
    if (name.starts_with('_') || !value.is_array()) continue;  // a setting of the pipeline, not a part
    bool part = value.size() == 2 && value[0].is_string() && value[1].is_string();
    bool none = value.size() == 2 && value[0].is_null() && value[1].is_null();
    if (!part && !none) return wrong("'" + name + "' is not a pair of library and class");
    if (!is_plain_name(name)) return wrong("'" + printable(name) + "' cannot be the name of a part's folder");
    if (none) continue;
    ModelPart p{name, value[0].get<std::string>(), value[1].get<std::string>(), *root / name, {}, {}, {}, {}};
    if (!stdfs::is_directory(p.folder, error)) {
      model.absent.push_back(name);
      continue;
    }
    if (std::optional<Error> e = name.starts_with("tokenizer") ? read_config(p, tokenizer_config) : read_config(p)) return *e;
    model.parts.push_back(std::move(p));
  }
  model.index = std::move(*index);
  return model;
}

Result<ModelFolder> open_model(const std::string& path, const std::string& base) {
  std::error_code error;
  const bool folder = stdfs::is_directory(path, error), there = stdfs::exists(path, error);
  if (base.empty() || (there && !folder && is_pickle_name(path))) return open_model_folder(path);
  if (folder)
    return Error{"model.base",
                 "stands beside a single file, and '" + path + "' is a folder",
                 "",
                 "leave model.base out, or name the file in model.path",
                 "E2012",
                 Exit::config};
  if (!there) {
    std::vector<std::string> files = names_in(Path(path).has_parent_path() ? Path(path).parent_path() : Path("."));
    std::optional<std::string> near = nearest(Path(path).filename().string(), files);
    return Error{path,
                 "there is no such file" + (near ? ". Did you mean '" + (Path(path).parent_path() / *near).string() + "'?"
                                                 : std::string()),
                 "",
                 "give the single file that goes with model.base, or leave model.base out",
                 "E2011",
                 Exit::missing};
  }
  Result<ModelFolder> model = open_model_folder(base);
  if (!model) {
    Error e = model.error();
    if (e.todo == download_command(base)) e.todo = small_download_command(base);
    return e;
  }
  model->file = path;
  return model;
}

Result<ModelPart> open_model_part(const std::string& asked, const std::string& name) {
  Result<Path> root = resolve_model(asked, name);
  if (!root) return root.error();
  std::error_code error;
  // A repository of one part alone has its config.json at the top; some whole models have one there too.
  const bool whole = stdfs::exists(*root / "model_index.json", error) || !stdfs::exists(*root / "config.json", error);
  ModelPart part{name, "", "", whole ? *root / name : *root, {}, {}, whole ? (Path(asked) / name).string() : asked, {}};
  if (!stdfs::exists(part.folder / "config.json", error))
    return Error{asked,
                 "is neither the folder of a part '" + name +
                     "', with its config.json, nor of a model that has one in " + name + "/",
                 "",
                 "give the part's own folder, or that of a model with this part",
                 "E2012",
                 Exit::bad_data};
  if (std::optional<Error> e = read_config(part)) return *e;
  const Json& config = part.config;
  if (config.contains("_class_name") && config["_class_name"].is_string()) {
    part.library = "diffusers";
    part.class_name = config["_class_name"].get<std::string>();
  } else if (config.contains("architectures") && config["architectures"].is_array() &&
             !config["architectures"].empty() && config["architectures"][0].is_string()) {
    part.library = "transformers";
    part.class_name = config["architectures"][0].get<std::string>();
  }
  return part;
}

Result<ModelPart> open_tokenizer_of(const ModelPart& text_encoder) {
  const std::string encoder = "text_encoder", suffix = text_encoder.name.substr(std::min(encoder.size(), text_encoder.name.size()));
  const Path folder = text_encoder.folder.lexically_normal(), given = Path(text_encoder.given).lexically_normal();
  // A folder that a model has for its second encoder has its tokenizer beside it under the second's name.
  auto plain = [](const Path& p) { return p.has_filename() ? p : p.parent_path(); };
  const std::string own = plain(folder).filename().string();
  const std::string beside = own.starts_with(encoder) ? "tokenizer" + own.substr(encoder.size()) : "tokenizer";
  ModelPart part{"tokenizer" + suffix, "transformers", "", {}, {}, {}};
  const std::vector<std::string> vocabularies = {"tokenizer.json", "vocab.json", "merges.txt", "spiece.model", "tokenizer.model"};
  part.own_files = {"tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"};
  part.own_files.insert(part.own_files.end(), vocabularies.begin(), vocabularies.end());
  std::error_code error;
  for (const Path& way : {Path(), Path("tokenizer"), Path("..") / beside}) {
    const Path at = (plain(folder) / way).lexically_normal();
    auto there = [&](const std::string& file) { return stdfs::exists(at / file, error); };
    if (std::none_of(vocabularies.begin(), vocabularies.end(), there)) continue;
    part.folder = plain(at), part.given = plain((plain(given) / way).lexically_normal()).string();
    part.config_path = part.folder / "tokenizer_config.json";  // whether or not it is there
    part.config = Json::object();
    if (std::optional<Error> e = read_config(part, tokenizer_config)) return *e;
    if (const Json name = part.config.value("tokenizer_class", Json()); name.is_string()) part.class_name = name.get<std::string>();
    return part;
  }
  return ModelPart{};
}

}  // namespace t2i
