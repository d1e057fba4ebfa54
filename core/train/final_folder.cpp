#include "core/train/final_folder.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cerrno>
#include <filesystem>

#include "core/base/file.h"
#include "core/base/version.h"
#include "core/checkpoint/pipeline_folder.h"
#include "core/data/text.h"
#include "core/model/load.h"
#include "core/quantization.h"
#include "core/single_files.h"
#include "core/train/adapter_folder.h"
#include "core/train/saved_state.h"
#include "core/train/text_encoders.h"

namespace fs = std::filesystem;

namespace t2i {
namespace {

// training.json: the step, and every other file with its size.
constexpr const char* record_name = "training.json";

void write_record(const fs::path& folder, int64_t step) {
  Json files = Json::object();
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    std::string name = entry.path().lexically_relative(folder).string();
    if (entry.is_regular_file() && find_bad_utf8(name) == name.npos) files[name] = entry.file_size();
  }
  write_json_file(folder / record_name, {{"step", step}, {"files", files}, {"t2i", version}});
}

// The record of a folder that write_final_folder made; null where there is none.
Json read_record(const fs::path& folder) {
  auto text = read_file(folder / record_name);
  Json record = text ? Json::parse(*text, nullptr, false) : Json();
  bool ours = record.is_object() && record.value("step", Json()).is_number_integer() &&
              record.value("files", Json()).is_object();
  return ours ? record : Json();
}

bool is_whole(const fs::path& folder, const Json& record) {
  for (const auto& [name, bytes] : record["files"].items()) {
    std::error_code gone;
    uint64_t there = fs::file_size(folder / name, gone);
    if (gone || !bytes.is_number_unsigned() || there != bytes.get<uint64_t>()) return false;
  }
  return true;
}

// Renames what is called `name` to a name that nothing has.
fs::path move_aside(const fs::path& name, const std::string& suffix) {
  for (int attempt = 1;; ++attempt) {
    fs::path to = name.string() + "-" + suffix + (attempt > 1 ? "-" + std::to_string(attempt) : "");
    int renamed = fs::exists(fs::symlink_status(to)) ? -EEXIST : real_file_system().rename(name, to);
    if (renamed >= 0) return to;
    if (renamed != -EEXIST && renamed != -ENOTEMPTY) fail_write(real_file_system(), name, "renaming", renamed);
  }
}

// The folder's own weights of the part that is trained.
WeightSet weights_of_trained(const Session& session, const TrainState& state) {
  return weights_from(session, *session.folder.part(state.weights->part).take(), session.variant);
}

// Is the part to be written as it was trained?
bool is_trained(const Session& session, const TrainState& state, const std::string& part) {
  if (part == state.weights->part) return state.weights->trains_own();
  return session.model->has(part) && session.model->store(part).trains_own();
}

// A complete pipeline in `temporary`, which is to become `folder`. Adds to `told` what it had to leave out.
void write_pipeline(const Session& session, const TrainState& state, const fs::path& temporary, const std::string& folder,
                    std::vector<std::string>& told) {
  const ModelFolder& source = session.folder;

  Json index = source.index;
  const Json pipelines = session.model->about().value("pipelines", Json::object());
  if (pipelines.contains(session.task->id())) index["_class_name"] = pipelines[session.task->id()];
  const Json classes = session.model->about().value("classes", Json::object());
  const Json scheduler_changes = session.loss ? session.loss->about().value("scheduler", Json::object()) : Json::object();

  // What is listed and not there would be looked for: pipelines take [null, null] for "none".
  auto leave_out = [&](const std::string& part, const char* why) {
    index[part] = {nullptr, nullptr};
    told.push_back(fmt::format("{} has no {}: {}", folder, part, why));
  };
  for (const std::string& part : source.absent) leave_out(part, "the model's folder lacks it");

  for (const ModelPart& part : source.parts) {
    fs::path to = temporary / part.name;
    if (part.name != state.weights->part && is_trained(session, state, part.name)) {
      write_text_encoder(session, state, part, to);
    } else if (is_trained(session, state, part.name)) {
      make_folders(to);
      Json config = session.model->configuration(part.name);
      const ParamStore& weights = *state.weights;
      at::Tensor flat = shown_weights(state).to(weights.trained.scalar_type()).to(at::kCPU);
      at::Tensor frozen = weights.frozen.defined() ? weights.frozen.to(at::kCPU) : at::Tensor();
      auto held = [&](const Parameter& p) { return tensor_source(p.name, view_of(p.trainable ? flat : frozen, p)); };
      std::vector<TensorSource> sources;
      std::optional<WeightSet> read;
      if (weights.holds_frozen_exactly())
        for (const Parameter& p : weights.parameters) sources.push_back(held(p));
      else  // the rest as it was read, which holding it in fewer bits did not change
        sources = sources_beside_trained(session, weights, read.emplace(weights_of_trained(session, state)), held, config);
      write_json_file(to / "config.json", config);
      write_weight_files(to, part.library == "transformers" ? "model" : "diffusion_pytorch_model", std::move(sources));
      if (auto changed = read ? read->damage() : std::nullopt) fail(*changed);
    } else if (!part.file.empty()) {
      write_part_folder(session, part, weights_from(session, part, ""), to, std::nullopt);
    } else if (lacks_weights(session, part)) {
      leave_out(part.name, "the model's folder has no weights of it");
    } else if (has_only_pickles(part)) {
      leave_out(part.name, "its weights are a pickle");
    } else {
      copy_part(part, to);
      Json config = session.model->configuration(part.name);
      if (part.name == "scheduler" && !scheduler_changes.empty()) {
        config.update(scheduler_changes);
        if (scheduler_changes.contains("_class_name")) index["scheduler"][1] = scheduler_changes["_class_name"];
      }
      // Of what has a configuration to be changed, a tokenizer alone may be without a file of it.
      const fs::path file = part.config_path.empty() ? "tokenizer_config.json" : part.config_path.filename();
      if (config != (part.config.is_null() ? Json::object() : part.config)) write_json_file(to / file, config);
    }
    if (!part.given.empty() && classes.contains(part.name)) index[part.name] = classes[part.name];
  }
  write_json_file(temporary / "model_index.json", index);
}

}  // namespace

uint64_t final_bytes(const Session& session, const Config& config, const TrainState& state) {
  if (config.lora.rank) return adapter_bytes(config, state);
  const bool own = state.weights->trains_own();
  uint64_t bytes = state.weights->trained.nbytes() + (own && state.weights->frozen.defined() ? state.weights->frozen.nbytes() : 0);
  if (own && !state.weights->holds_frozen_exactly())
    for (const auto& [name, entry] : weights_of_trained(session, state).tensors) bytes += entry->bytes.size();
  std::error_code error;
  for (const ModelPart& part : session.folder.parts)
    if (is_trained(session, state, part.name)) {
      continue;
    } else if (!part.file.empty()) {
      WeightSet weights = weights_from(session, part, "");
      for (const auto& [name, entry] : weights.tensors) bytes += entry->bytes.size() * (dtype_bits(entry->dtype) == 8 ? 2 : 1);
    } else if (!has_only_pickles(part))
      for (const PartFile& file : part_files(part))
        if (uint64_t size = fs::file_size(file.from, error); !error) bytes += size;
  return bytes;
}

std::string write_final_folder(const Session& session, const Config& config, const TrainState& state, const std::string& folder) {
  const bool there = fs::exists(fs::symlink_status(folder));
  const Json before = there ? read_record(folder) : Json();
  if (!before.is_null() && before["step"] == state.step && is_whole(folder, before))
    return fmt::format("{} is that of step {} already and was left as it is", folder, state.step);

  at::NoGradGuard no_grad;
  UnfinishedFolder unfinished(folder + ".tmp");
  std::vector<std::string> told;
  if (config.lora.rank) write_adapter_files(session, config, state, unfinished.path());
  else write_pipeline(session, state, unfinished.path(), folder, told);
  write_record(unfinished.path(), state.step);
  if (there) {
    std::string suffix = before.is_null() ? "earlier" : before["step"].dump();
    told.push_back(fmt::format("{} was there already and is now {}", folder, move_aside(folder, suffix).string()));
  }
  unfinished.publish(folder);
  return fmt::format("{}", fmt::join(told, "; "));
}

}  // namespace t2i
