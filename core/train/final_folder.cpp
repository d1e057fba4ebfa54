#include "core/train/final_folder.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <filesystem>

#include "core/base/file.h"
#include "core/model/load.h"
#include "core/train/saved_state.h"

namespace fs = std::filesystem;

namespace t2i {
namespace {

constexpr uint64_t shard_bytes = uint64_t{10} << 30;  // as diffusers: above this, weights are cut into shards

void write_json(const fs::path& path, const Json& value) {
  std::string text = python_json(value);
  write_file(path, as_bytes(text));
}

// Shards in the order of declaration, each at most shard_bytes, and the index that names them.
void write_weights(const fs::path& folder, const std::string& stem, std::vector<TensorSource> sources) {
  std::vector<std::vector<TensorSource>> shards(1);
  uint64_t total = 0, in_shard = 0;
  for (TensorSource& s : sources) {
    if (in_shard && in_shard + s.bytes.size() > shard_bytes) shards.emplace_back(), in_shard = 0;
    in_shard += s.bytes.size(), total += s.bytes.size();
    shards.back().push_back(std::move(s));
  }
  if (shards.size() == 1) {
    write_safetensors(folder / (stem + ".safetensors"), std::move(shards[0]), {{"format", "pt"}});
    return;
  }
  Json index{{"metadata", {{"total_size", total}}}, {"weight_map", Json::object()}};
  for (size_t i = 0; i < shards.size(); ++i) {
    std::string name = fmt::format("{}-{:05}-of-{:05}.safetensors", stem, i + 1, shards.size());
    for (const TensorSource& s : shards[i]) index["weight_map"][s.name] = name;
    write_safetensors(folder / name, std::move(shards[i]), {{"format", "pt"}});
  }
  write_json(folder / (stem + ".safetensors.index.json"), index);
}

void copy_part(const fs::path& from, const fs::path& to) {
  fs::create_directories(to);
  for (const fs::directory_entry& entry : fs::directory_iterator(from))
    if (entry.is_directory())
      copy_part(entry.path(), to / entry.path().filename());
    else
      fs::copy_file(fs::canonical(entry.path()), to / entry.path().filename(), fs::copy_options::overwrite_existing);
}

}  // namespace

void write_final_folder(const Session& session, const TrainState& state, const std::string& folder) {
  at::NoGradGuard no_grad;
  const ModelFolder& source = session.folder;
  fs::path root = folder, temporary = folder + ".tmp";
  fs::remove_all(temporary);
  fs::create_directories(temporary);

  Json index = source.index;
  const Json pipelines = session.model->about().value("pipelines", Json::object());
  if (pipelines.contains(session.task->id())) index["_class_name"] = pipelines[session.task->id()];
  const Json scheduler_changes = session.loss ? session.loss->about().value("scheduler", Json::object()) : Json::object();

  for (const ModelPart& part : source.parts) {
    fs::path to = temporary / part.name;
    if (part.name == state.weights->part) {
      fs::create_directories(to);
      write_json(to / "config.json", session.model->configuration(part.name));
      at::Tensor flat = (state.ema.average.defined() ? state.ema.average : state.weights->trained).to(at::kCPU);
      at::Tensor frozen = state.weights->frozen.defined() ? state.weights->frozen.to(at::kCPU) : at::Tensor();
      std::vector<TensorSource> sources;
      for (const Parameter& p : state.weights->parameters) sources.push_back(tensor_source(p.name, view_of(p.trainable ? flat : frozen, p)));
      write_weights(to, part.library == "transformers" ? "model" : "diffusion_pytorch_model", std::move(sources));
    } else if (fs::is_directory(part.folder)) {
      copy_part(part.folder, to);
      if (part.name == "scheduler" && !scheduler_changes.empty()) {
        Json config = part.config;
        config.update(scheduler_changes);
        write_json(to / fs::path(part.config_path).filename(), config);
        if (scheduler_changes.contains("_class_name")) index["scheduler"][1] = scheduler_changes["_class_name"];
      }
    }
  }
  write_json(temporary / "model_index.json", index);
  fs::remove_all(root);
  fs::rename(temporary, root);
}

}  // namespace t2i
