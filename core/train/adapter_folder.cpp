#include "core/train/adapter_folder.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/adapters.h"
#include "core/base/version.h"
#include "core/checkpoint/pipeline_folder.h"
#include "core/config/optimizer_check.h"
#include "core/config/rates.h"
#include "core/model/adapter_write.h"
#include "core/model/load.h"
#include "core/train/adapter.h"
#include "core/train/saved_state.h"

namespace t2i {
namespace {

constexpr const char* peft_name = "pytorch_lora_weights.safetensors";
constexpr const char* kohya_name = "pytorch_lora_weights_kohya.safetensors";
constexpr const char* full_name = "full_layers.safetensors";

// What was written, as the readers of its form read it.
void check_written(const Path& path, const SessionAdapterNames& names, const std::vector<LayerAdapter>& trained) {
  constexpr double enough = 1e-5;  // float32 keeps seven digits of a factor that a scale was multiplied into
  const AdapterFile file = read_adapter_file(path, names.names(), names.model());
  const std::vector<LayerAdapter> read = layer_adapters(file);
  auto wrong = [&](const std::string& layer, const std::string& what) {
    fail({path.string(), fmt::format("{} is read back {}", layer, what), "", "this is an error in t2i; please report it. The newest checkpoint is whole",
          "E7120", Exit::failed});
  };
  if (!file.unknown.empty()) wrong(file.unknown.front(), "as of no layer");
  for (const LayerAdapter& layer : trained) {
    auto same = std::ranges::find_if(read, [&](const LayerAdapter& r) { return r.part == layer.part && r.weight == layer.weight; });
    const bool idle = layer.low_rank.up.count_nonzero().item<int64_t>() == 0;  // may be left out where layers share a tensor
    if (same == read.end() && !idle) wrong(layer.weight->name, "as not there");
    if (same != read.end() && difference(same->low_rank, layer.low_rank, layer.weight->shape) > enough && !idle) wrong(layer.weight->name, "as another adapter");
  }
}

SafetensorsMetadata kohya_header(const Session& session, const Config& config, const TrainState& state, const std::vector<TensorSource>& sources) {
  SafetensorsMetadata header;
  const Json own = session.model->about().value("kohya", Json::object()).value("metadata", Json::object());
  for (const auto& [key, value] : own.items())
    if (value.is_string()) header[key] = value.get<std::string>();
  const LoraConfig& lora = config.lora;
  header["ss_network_module"] = "networks.lora";
  header["ss_network_dim"] = std::to_string(*lora.rank);
  header["ss_network_alpha"] = fmt::format("{}", lora.alpha);
  if (lora.dropout > 0) header["ss_network_dropout"] = fmt::format("{}", lora.dropout);
  Json arguments = Json::object();
  if (lora.use_dora) arguments["use_dora"] = "True";
  if (lora.use_rslora) arguments["use_rslora"] = "True";
  header["ss_network_args"] = arguments.dump();
  header["ss_sd_model_name"] = std::filesystem::path(config.model.path).lexically_normal().filename().string();
  header["ss_learning_rate"] = fmt::format("{}", learning_rate_of(config.optimizer));
  for (const auto& [part, rate] : part_rates(config, session.model->denoiser()))
    header[part == session.model->denoiser() ? "ss_unet_lr" : "ss_" + part + "_lr"] = fmt::format("{}", rate);
  header["ss_optimizer"] = config.optimizer.name;
  header["ss_steps"] = std::to_string(state.step);
  header["ss_seed"] = std::to_string(config.train.seed);
  header["software"] = std::string("t2i ") + version;
  header["sshs_model_hash"] = data_hash(sources);
  return header;
}

// The weights that the base does not have, by "PART.NAME". Empty where there are none.
std::vector<std::string> write_full_layers(const ParamStore& store, const at::Tensor& flat, const Path& path) {
  std::vector<TensorSource> sources;
  std::vector<std::string> names;
  for (const Parameter& p : store.parameters)
    if (p.trainable) {
      names.push_back(store.part + "." + p.name);
      sources.push_back(tensor_source(names.back(), view_of(flat, p)));
    }
  if (!sources.empty()) write_safetensors(path, sources, {{"format", "pt"}});
  return names;
}

}  // namespace

uint64_t adapter_bytes(const Config& config, const TrainState& state) {
  constexpr uint64_t headers = 1 << 20;
  return state.weights->trained.nbytes() * (config.lora.formats.size() + 1) + headers;
}

void write_adapter_files(const Session& session, const Config& config, const TrainState& state, const Path& folder) {
  at::NoGradGuard no_grad;
  const ParamStore& store = *state.weights;
  const at::Tensor flat = shown_weights(state).detach().to(at::kCPU, at::kFloat);
  const SessionAdapterNames names(session);
  std::vector<LayerAdapter> layers = trained_layers(store, flat, config.lora, names.part(store.part));
  for (const std::string& text : config.lora.text_encoders)
    for (LayerAdapter& layer : trained_layers(store, flat, config.lora, names.part(text))) layers.push_back(std::move(layer));
  Json files = Json::object();
  for (const std::string& form : config.lora.formats) {
    const bool kohya = form == "kohya";
    const bool by_file = session.model->about().value("kohya", Json::object()).value("names", "file") == "file";
    const AdapterTensors tensors = kohya ? kohya_form(layers, by_file, store) : peft_form(layers);
    const Path path = folder / (kohya ? kohya_name : peft_name);
    write_safetensors(path, tensors.sources, kohya ? kohya_header(session, config, state, tensors.sources) : SafetensorsMetadata{{"format", "pt"}});
    check_written(path, names, layers);
    files[form] = path.filename().string();
  }
  const std::vector<std::string> full = write_full_layers(store, flat, folder / full_name);
  Json record{{"t2i", version},
              {"files", files},
              {"rank", *config.lora.rank},
              {"alpha", config.lora.alpha},
              {"dropout", config.lora.dropout},
              {"use_rslora", config.lora.use_rslora},
              {"use_dora", config.lora.use_dora},
              {"targets", config.lora.targets},
              {"text_encoders", config.lora.text_encoders},
              {"layers", layers.size()},
              {"base_model", config.model.path},
              {"pipeline", session.folder.pipeline_class},
              {"part", store.part},
              {"plugin", session.model->id()},
              {"task", session.task->id()},
              {"step", state.step},
              {"full_layers", full}};
  if (session.loss) {
    record["loss"] = session.loss->id();
    record["scheduler"] = session.loss->about().value("scheduler", Json::object());
  }
  if (!full.empty()) {
    record["full_layers_file"] = full_name;
    record["config"] = {{store.part, session.model->configuration(store.part)}};  // of the base with these layers
  }
  write_json_file(folder / "adapter.json", record);
}

}  // namespace t2i
