#include "core/train/saved_state.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "core/model/load.h"
#include "core/model/stored_pieces.h"

namespace t2i {
namespace {

// Each thing that is stored per parameter.
std::vector<StateBuffer> per_parameter(const TrainState& s) {
  std::vector<Place> places;
  for (const Parameter* p : s.weights->trained_parameters()) places.push_back({p->name, p->shape, p->offset});
  std::vector<StateBuffer> list = s.optimizer.buffers();
  list.insert(list.begin(), StateBuffer{"weights", s.weights->trained, places});
  if (s.ema.average.defined()) list.push_back({"ema", s.ema.average, places});
  return list;
}

std::vector<StateScalar> scalars(const TrainState& s) {
  std::vector<StateScalar> list = s.optimizer.scalars();
  list.emplace_back("loss_scale", s.loss_scale.value());
  list.emplace_back("good_steps", s.loss_scale.good_steps());
  return list;
}

at::Tensor view_of(const at::Tensor& flat, const Place& place) {
  return flat.narrow(0, place.offset, place.elements()).view(place.shape);
}

}  // namespace

at::Tensor view_of(const at::Tensor& flat, const Parameter& parameter) {
  return flat.narrow(0, parameter.offset, parameter.value.numel()).view(parameter.shape);
}

uint64_t saved_bytes(const TrainState& state) {
  constexpr uint64_t header_of_a_tensor = 160, manifest = 16384;
  uint64_t bytes = manifest;
  for (const StateBuffer& buffer : per_parameter(state)) bytes += buffer.flat.nbytes() + header_of_a_tensor * buffer.places.size();
  return bytes;
}

Committed save_state(const TrainState& state, const std::string& output, const Json& about, int keep) {
  at::NoGradGuard no_grad;
  std::vector<TensorSource> sources;
  std::vector<at::Tensor> alive;
  for (const StateBuffer& buffer : per_parameter(state)) {
    at::Tensor on_host = buffer.flat.to(at::kCPU);
    alive.push_back(on_host);
    for (const Place& place : buffer.places) sources.push_back(tensor_source(buffer.name + "/" + place.parameter, view_of(on_host, place)));
  }
  for (auto& [name, t] : scalars(state)) {
    alive.push_back(t.to(at::kCPU).contiguous());
    sources.push_back(tensor_source(name, alive.back()));
  }
  CheckpointWriter writer(output, state.step, safetensors_size(sources), real_file_system());
  writer.add_file("state.safetensors", [&](const ByteSink& sink) { stream_safetensors(sources, {}, sink); });
  return writer.finish(about, keep);
}

void restore_state(TrainState& state, const Checkpoint& checkpoint) {
  at::NoGradGuard no_grad;
  std::string where = (checkpoint.folder / "state.safetensors").string();
  SafetensorsFile file = open_safetensors(where).take();
  auto copy = [&](const std::string& name, at::Tensor to) {
    const TensorEntry* entry = file.find(name);
    if (!entry || entry->shape != to.sizes().vec())
      fail({where, "tensor '" + name + "' is missing or has another shape",
            "The checkpoint is of another model or other trained parameters",
            "use another output folder, or the configuration that this run began with", "E4130", Exit::bad_data});
    copy_stored(*entry, to, [&](Bytes copied) { file.map->unload(copied); });
  };
  for (const StateBuffer& buffer : per_parameter(state))
    for (const Place& place : buffer.places) copy(buffer.name + "/" + place.parameter, view_of(buffer.flat, place));
  for (auto& [name, t] : scalars(state)) copy(name, t);
  if (auto damage = file.map->damage()) fail(*damage);
  state.step = checkpoint.manifest.step;
}

}  // namespace t2i
