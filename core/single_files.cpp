#include "core/single_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>

#include "core/checkpoint/part_files.h"
#include "core/checkpoint/pipeline_folder.h"
#include "core/checkpoint/single_file.h"
#include "core/model/tensor_source.h"
#include "core/quantization.h"

namespace t2i {
namespace {

namespace stdfs = std::filesystem;

std::string first_few(const std::vector<std::string>& all) {
  std::vector<std::string> few(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(std::min<size_t>(all.size(), 3)));
  return fmt::format("{}{}", fmt::join(few, ", "), all.size() > 3 ? ", …" : "");
}

// Alone in its file: no other part could be meant by names without a prefix.
bool is_alone(const Session& s, const ModelPart& part) { return part.file != s.folder.file || part.name == s.model->denoiser(); }

Error holds_none(const Session& s, const std::string& file, const SafetensorsFile& opened, const std::vector<std::string>& parts, bool whole) {
  std::vector<std::string> names;
  for (const TensorEntry& tensor : opened.tensors) names.push_back(tensor.name);
  return {file,
          fmt::format("holds no tensor of {} as {} is made of", parts.size() == 1 ? "a '" + parts[0] + "'" : fmt::format("{}", fmt::join(parts, ", ")),
                      s.folder.asked),
          names.empty() ? "It holds none at all" : "Its tensors are called " + first_few(names),
          whole ? "give a file of the same kind of model as model.base, or another model.base" : "give a file that holds this part, or the part's folder",
          "E2017",
          Exit::bad_data};
}

Error lacks_some(const Session& s, const std::string& file, const std::string& part, const PartInFile& found) {
  return {file,
          fmt::format("holds a '{}' that lacks {} tensors: {}", part, found.missing.size(), first_few(found.missing)),
          fmt::format("{}/{}/config.json describes another network than the file is of", s.folder.asked, part),
          "give as model.base a folder of the same kind of model as the file",
          "E2016",
          Exit::bad_data};
}

// Neither the file nor its base.
Error nobody_has(const Session& s, const ModelPart& part) {
  const Json about = s.model->about().at("parts").value(part.name, Json::object());
  return {s.folder.file,
          fmt::format("holds no '{}', and {}/{} has no weights of it", part.name, s.folder.asked, part.name),
          "",
          (stdfs::is_directory(s.folder.asked)
               ? "put the part's weights there, or give a file that holds them"
               : fmt::format("give a file that holds it, or fetch it: hf download {} --include '{}/*'", s.folder.asked, part.name)) +
              (about.value("optional", false) ? ", or write [null, null] for it into the base's model_index.json to go without" : ""),
          "E2014",
          Exit::missing};
}

}  // namespace

// The parameters that a file must hold: those that are new beside the weights (describe(): "added") it may lack.
static std::vector<NamedShape> wanted_of(const Session& s, const std::string& part) {
  std::vector<NamedShape> wanted = s.model->declared(part);
  for (const std::string& prefix : s.model->about().at("parts").at(part).value("added", std::vector<std::string>()))
    std::erase_if(wanted, [&](const NamedShape& p) { return p.name.starts_with(prefix); });
  return wanted;
}

bool is_single_file(const std::string& path) {
  std::error_code error;
  return stdfs::exists(path, error) && !stdfs::is_directory(path, error) && !is_pickle_name(path);
}

void replace_weights(ModelFolder& folder, const std::string& name, const std::string& file) {
  for (ModelPart& part : folder.parts)
    if (part.name == name) return part.file = file, void();
  fail({file, "is a single file, and " + folder.asked + " has no '" + name + "' whose configuration could go with it", "",
        "give the part's folder, with its config.json", "E2013", Exit::missing});
}

void settle_single_files(Session& s) {
  std::map<std::string, SafetensorsFile> opened;
  auto open = [&](const std::string& path) -> const SafetensorsFile& {
    auto at = opened.find(path);
    return at == opened.end() ? opened.emplace(path, open_single_file(path).take()).first->second : at->second;
  };
  std::vector<Error> errors;
  std::vector<std::string> looked_for, found_parts;
  for (ModelPart& part : s.folder.parts) {
    if (!s.model->about().at("parts").contains(part.name)) continue;
    const bool by_itself = !part.file.empty();
    if (!by_itself && (s.folder.file.empty() || !part.given.empty())) continue;
    if (s.file_names.empty()) s.file_names = s.model->file_names();
    std::vector<FileForm>& forms = s.file_names[part.name];
    forms.push_back({{""}, {{"", {""}, FileRow::Change::none}}, true, {}});

    const std::string path = by_itself ? part.file : s.folder.file;
    const SafetensorsFile& file = open(path);
    part.file = path;
    const bool alone = is_alone(s, part);
    std::optional<PartInFile> found = find_part(file, forms, wanted_of(s, part.name), alone);
    if (!by_itself) looked_for.push_back(part.name);
    if (!found) {
      part.file.clear();
      if (by_itself) errors.push_back(holds_none(s, path, file, {part.name}, false));
      continue;
    }
    if (!by_itself) found_parts.push_back(part.name);
    if (!found->missing.empty() && !found->form->own) errors.push_back(lacks_some(s, path, part.name, *found));
    const Json first = s.model->about().value("first_layer", Json::object());
    if (errors.empty() && first.value("part", "") == part.name)
      if (const TensorEntry* weight = tensor_of(file, *found, first["weight"]); weight && weight->shape.size() > 1)
        s.model->set_first_inputs(weight->shape[1], path);
  }
  if (!looked_for.empty() && found_parts.empty()) errors.push_back(holds_none(s, s.folder.file, open(s.folder.file), looked_for, true));
  if (!errors.empty()) throw Failure(std::move(errors));
}

WeightSet weights_from(const Session& s, const ModelPart& part, const std::string& variant) {
  if (part.file.empty()) {
    // The variant is the model's: a part from elsewhere may well have none of that name.
    const bool has_variant = part.given.empty() || weights_of(part, variant);
    Result<WeightSet> weights = open_weights(part, has_variant ? variant : "");
    const bool none = !weights && (weights.error().id == "E2014" || weights.error().id == "E2004");
    if (none && !s.folder.file.empty() && part.given.empty()) fail(nobody_has(s, part));
    return weights.take();
  }
  const std::vector<NamedShape> parameters = wanted_of(s, part.name);
  SafetensorsFile file = open_single_file(part.file).take();
  const std::vector<FileForm>& forms = s.file_names.at(part.name);
  std::optional<PartInFile> found = find_part(file, forms, parameters, is_alone(s, part));
  if (!found) fail(holds_none(s, part.file, file, {part.name}, false));
  return part_of_file(std::move(file), *found, parameters).take();
}

bool lacks_weights(const Session& s, const ModelPart& part) {
  return !s.folder.file.empty() && part.file.empty() && part.config_path.filename() == "config.json" && !weights_of(part) && !has_only_pickles(part);
}

void write_part_folder(const Session& s, const ModelPart& part, const WeightSet& weights, const Path& to,
                       std::optional<at::ScalarType> dtype, const std::string& quantization, const TensorEdits* edits) {
  make_folders(to);
  for (const PartFile& file : part_files(part))
    if (file.to.string().find(".safetensors") == std::string::npos) copy_part_file(file, to);
  const bool known = s.model->about().at("parts").contains(part.name);
  Json config = known ? s.model->configuration(part.name) : part.config;
  if (dtype)
    for (const char* key : {"dtype", "torch_dtype"})  // transformers opens the weights as it says
      if (config.contains(key)) config[key] = torch_name(*dtype);
  std::set<std::string> wanted;
  if (known && !part.file.empty())
    for (const NamedShape& parameter : s.model->declared(part.name)) wanted.insert(parameter.name);
  std::vector<TensorSource> sources;
  if (known && (!quantization.empty() || holds_packed(weights))) {
    sources = sources_in_form(s, part, weights, quantization, dtype, config);
  } else {
    for (const auto& [name, entry] : weights.tensors)
      if (wanted.empty() || wanted.contains(name)) sources.push_back(converted_source(name, *entry, weights, dtype, /*no_float8=*/true, edits));
  }
  write_json_file(to / "config.json", config);
  write_weight_files(to, part.library == "transformers" ? "model" : "diffusion_pytorch_model", std::move(sources));
}

}  // namespace t2i
