#include "core/export.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <deque>

#include "core/adapters.h"
#include "core/checkpoint/pipeline_folder.h"
#include "core/metric/job_progress.h"
#include "core/model/tensor_source.h"
#include "core/precision/device.h"
#include "core/quantization.h"
#include "core/single_files.h"

namespace t2i {
namespace {

struct Export {
  const ExportOptions& options;
  std::string task;  // whose pipeline a folder is for; empty: as model_index.json says
  Session& session;
  std::optional<at::ScalarType> dtype;  // nothing: as stored
  std::vector<std::string> told;
  std::optional<Adapters> adapters;

  // Of a part, "" where none is asked for.
  std::string quantization(const std::string& part) const {
    const std::string role = session.model->about().at("parts").value(part, Json::object()).value("role", "");
    return role == "denoiser" ? options.quantization : role == "text_encoder" ? options.text_encoder_quantization : "";
  }
};

// The parts that the family is made of and the folder lists. Their weights must be there; other parts may go without.
std::vector<const ModelPart*> own_parts(const Session& s) {
  std::vector<const ModelPart*> parts;
  for (const ModelPart& part : s.folder.parts)
    if (s.model->about().at("parts").contains(part.name)) parts.push_back(&part);
  return parts;
}

// Every parameter's tensor; E2102 and E2103 as when the part is loaded.
std::vector<const TensorEntry*> entries_of(const Session& s, const ModelPart& part, const WeightSet& weights,
                                           const std::vector<NamedShape>& parameters) {
  const LoadRules rules = load_rules(s, part.name);
  std::vector<const TensorEntry*> entries;
  std::vector<std::string> missing, wrong;
  for (const NamedShape& p : parameters) {
    const TensorEntry* entry = find_tensor(weights, p.name, rules);
    if (!entry) missing.push_back(p.name);
    else if (entry->shape != p.shape)
      wrong.push_back(fmt::format("{} is [{}] in the file, [{}] by config.json", p.name, fmt::join(entry->shape, ","), fmt::join(p.shape, ",")));
    entries.push_back(entry);
  }
  if (!missing.empty())
    fail({rules.where, fmt::format("{} of {} tensors are not in the weights: {}", missing.size(), parameters.size(), missing.front()),
          "config.json describes another network than the weights belong to", "download the folder again, or use the weights' own config.json",
          "E2102", Exit::bad_data});
  if (!wrong.empty())
    fail({rules.where, fmt::format("{} tensors have another shape: {}", wrong.size(), wrong.front()), "", rules.todo_about_shapes,
          "E2103", Exit::bad_data});
  return entries;
}

// The adapters in the part's weights: merged on the way, and what was trained in full put in its place at once.
TensorEdits merge_adapters(const Export& e, const ModelPart& part, WeightSet& weights) {
  TensorEdits edits;
  if (!e.adapters || !e.adapters->touch(part.name)) return edits;
  const LoadRules rules = load_rules(e.session, part.name);
  auto name_in_file = [&](const TensorEntry* entry) {
    return std::ranges::find_if(weights.tensors, [&](const auto& tensor) { return tensor.second == entry; })->first;
  };
  for (const std::string& name : e.adapters->full_names(part.name))
    if (const TensorEntry* entry = find_tensor(weights, name, rules)) {
      at::Tensor base = stored_tensor(*entry).to(at::kFloat);
      for (const NamedShape& p : e.session.model->declared(part.name))  // the base is narrower: what it lacks is zero
        if (p.name == name && p.shape != entry->shape) {
          at::Tensor wider = at::zeros(p.shape);
          wider.narrow(1, 0, base.size(1)).copy_(base);
          base = wider;
        }
      replace_tensor(weights, name_in_file(entry), e.adapters->full(part.name, name, base));
    }
  for (const NamedShape& p : e.session.model->declared(part.name))
    if (Adapter adapter = e.adapters->of(part.name, p.name); !adapter.low_rank.empty())
      if (const TensorEntry* entry = find_tensor(weights, p.name, rules))
        edits[entry] = [adapter = std::move(adapter)](const at::Tensor& base) { return merged(base, adapter); };
  return edits;
}

void write_single_file(Export& e) {
  Session& s = e.session;
  const FileNames names = s.model->file_names();
  std::vector<std::unique_ptr<WeightSet>> kept;  // the sources point into them
  std::deque<TensorEdits> edits;
  std::vector<TensorSource> sources;
  for (const ModelPart* part : own_parts(s)) {
    auto forms = names.find(part->name);
    if (forms == names.end() || forms->second.empty())
      fail({fmt::format("model '{}'", s.model->id()), fmt::format("does not say how single files name the tensors of '{}'", part->name), "",
            "export a folder: --format diffusers", "E2037", Exit::usage});
    const std::vector<NamedShape> parameters = s.model->declared(part->name);
    WeightSet& weights = *kept.emplace_back(std::make_unique<WeightSet>(weights_from(s, *part, e.options.model.variant)));
    if (holds_packed(weights))
      fail({load_rules(s, part->name).where, "its weights are packed, and single files hold plain ones", "",
            "unpack them first: t2i export --quantization none --text-encoder-quantization none --output FOLDER", "E7154", Exit::usage});
    edits.push_back(merge_adapters(e, *part, weights));
    const std::vector<const TensorEntry*> entries = entries_of(s, *part, weights, parameters);
    for (const FileTensor& tensor : tensors_to_write(forms->second.front(), parameters, fmt::format("model '{}' file_names", s.model->id())).take()) {
      std::vector<const TensorEntry*> members;
      for (size_t i : tensor.parameters) members.push_back(entries[i]);
      if (tensor.change == FileRow::Change::identity) {
        if (is_identity(*members.front())) continue;
        e.told.push_back(fmt::format("{} is no identity, which other programs take it for; t2i reads it back as it is", tensor.name));
      }
      sources.push_back(joined_source(tensor.name, members, tensor.change, weights, e.dtype, &edits.back()));
    }
  }
  for (const std::string& part : s.folder.absent) e.told.push_back(fmt::format("{} has no {}: the model's folder lacks it", e.options.output, part));
  for (const ModelPart& part : s.folder.parts)
    if (part.config_path.filename() == "config.json" && !s.model->about().at("parts").contains(part.name))
      e.told.push_back(fmt::format("{} is not among what single files hold and was left out", part.name));
  const Path output = e.options.output;
  if (output.has_parent_path()) make_folders(output.parent_path());
  require_free(real_file_system(), output.has_parent_path() ? output.parent_path() : Path("."), safetensors_size(sources, {{"format", "pt"}}),
               output.filename().string());
  write_safetensors(output, sources, {{"format", "pt"}});
  for (const auto& weights : kept)
    if (auto changed = weights->damage()) fail(*changed);
}

// What the losses of the merged adapters made of the schedule.
void change_scheduler(const Export& e, const ModelPart& part, const Path& folder, Json& index) {
  const Json changes = e.adapters->scheduler_changes();
  Json config = part.config;
  config.update(changes);
  if (changes.contains("_class_name")) index["scheduler"][1] = changes["_class_name"];
  if (config != part.config) write_json_file(folder / part.config_path.filename(), config);
}

void write_folder(Export& e) {
  Session& s = e.session;
  const Path output = e.options.output;
  const bool rewritten = e.dtype || !e.options.model.variant.empty();  // else files are copied as they are
  Json index = s.folder.index;
  if (const std::string& task = e.task; !task.empty()) {
    const Json pipelines = s.model->about().value("pipelines", Json::object());
    std::vector<std::string> known;
    for (const auto& [name, pipeline] : pipelines.items()) known.push_back(name);
    if (!pipelines.contains(task))
      fail({"--task", fmt::format("model '{}' has no pipeline for '{}'", s.model->id(), task), "", fmt::format("one of {}", fmt::join(known, ", ")), "E6021", Exit::usage});
    index["_class_name"] = pipelines[task];
  } else if (const Json first = s.model->about().value("first_layer", Json::object());
             !s.folder.file.empty() && !first.empty() && first["channels"] != s.model->latent_channels()) {
    e.told.push_back(fmt::format("the first layer takes {} channels where latents have {}, and model_index.json says {}; --task names the pipeline",
                                 first["channels"].get<int64_t>(), s.model->latent_channels(), s.folder.pipeline_class));
  }

  UnfinishedFolder unfinished(unfinished_name(output));
  auto write_part = [&](const ModelPart& part, const WeightSet& weights, const std::string& quantization, const TensorEdits& edits) {
    write_part_folder(s, part, weights, unfinished.path() / part.name, e.dtype, quantization, &edits);
    if (auto changed = weights.damage()) fail(*changed);
  };
  auto leave_out = [&](const std::string& part, const char* why) {
    index[part] = {nullptr, nullptr};
    e.told.push_back(fmt::format("{} has no {}: {}", output.string(), part, why));
  };
  for (const std::string& part : s.folder.absent) leave_out(part, "the model's folder lacks it");
  for (const ModelPart& part : s.folder.parts) {
    const Path to = unfinished.path() / part.name;
    const std::string quantization = e.quantization(part.name);
    const bool used = s.model->about().at("parts").contains(part.name), network = part.config_path.filename() == "config.json";
    if (!used && lacks_weights(s, part)) leave_out(part.name, "the model's folder has no weights of it");
    else if (!used && has_only_pickles(part)) leave_out(part.name, "its weights are a pickle");
    else if (used && (rewritten || !quantization.empty() || !part.file.empty() || !weights_of(part) || (e.adapters && e.adapters->touch(part.name)))) {
      WeightSet weights = weights_from(s, part, e.options.model.variant);
      if (e.adapters && e.adapters->touch(part.name) && (!quantization.empty() || holds_packed(weights)))
        fail({load_rules(s, part.name).where, "an adapter cannot be merged into packed weights", "What is packed is rounded, and the sum would be rounded again",
              "merge it into the plain weights first, then pack the folder that this gives", "E7155", Exit::usage});
      const TensorEdits edits = merge_adapters(e, part, weights);
      if (!part.file.empty() || !edits.empty()) entries_of(s, part, weights, s.model->declared(part.name));
      write_part(part, weights, quantization, edits);
    } else if (!used && network && rewritten && weights_of(part)) {
      write_part(part, open_weights(part).take(), "", {});
    } else {
      copy_part(part, to);
      if (part.name == "scheduler" && e.adapters) change_scheduler(e, part, to, index);
    }
  }
  write_json_file(unfinished.path() / "model_index.json", index);
  unfinished.publish_new(output);
}

}  // namespace

int export_command(const ExportOptions& options) {
  require_new(options.output, "--output");
  Config config;
  config.model = options.model, config.plugin = options.plugin;
  config.task.name = task_of_adapters(options.loras);  // a first layer that it widened comes with the adapter
  at::NoGradGuard no_gradients;
  auto session = open_session(config, options.plugin_paths, {.loss = false, .task = false, .device = "cpu"});
  Export e{options, options.task.empty() ? config.task.name : options.task, *session, {}, {}, {}};
  if (!options.loras.empty()) e.adapters.emplace(*session, options.loras);
  if (!options.dtype.empty()) e.dtype = dtype_from(options.dtype, "--dtype");
  require_parts(*session, {"denoiser"});
  JobProgress progress;
  progress.watch_files();
  if (options.format == "single-file") write_single_file(e);
  else write_folder(e);
  progress.clear();
  for (const std::string& notice : session->notices) fmt::print(stderr, "notice: {}\n", printable(notice));
  for (const std::string& notice : e.told) fmt::print(stderr, "notice: {}\n", printable(notice));
  fmt::print("{}\n", printable(options.output));
  return static_cast<int>(Exit::done);
}

}  // namespace t2i
