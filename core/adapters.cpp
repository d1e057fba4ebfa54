#include "core/adapters.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/model/load.h"

namespace t2i {
namespace {

namespace stdfs = std::filesystem;

constexpr const char* record_name = "adapter.json";

// The file, or in a run's final/ the first of the forms that are there.
Path file_of(const std::string& asked) {
  std::error_code error;
  if (!stdfs::is_directory(asked, error)) return asked;
  const Path usual = Path(asked) / "pytorch_lora_weights.safetensors", other = Path(asked) / "pytorch_lora_weights_kohya.safetensors";
  return !stdfs::exists(usual, error) && stdfs::exists(other, error) ? other : usual;
}

std::vector<NamedShape> layer_weights(const Session& session, const std::string& part) {
  std::vector<NamedShape> weights = session.model->declared(part);
  std::erase_if(weights, [](const NamedShape& w) { return !w.name.ends_with(".weight") || (w.shape.size() != 2 && w.shape.size() != 4); });
  return weights;
}

}  // namespace

Json adapter_record(const std::string& asked) {
  const Path file = file_of(asked);
  auto text = read_file(file.parent_path() / record_name);
  Json record = text ? Json::parse(*text, nullptr, /*allow_exceptions=*/false) : Json();
  if (!record.is_object()) return Json::object();
  for (const Json files = record.value("files", Json::object()); const Json& name : files)
    if (name == file.filename().string()) return record;
  return Json::object();  // it is of another adapter in the same folder
}

std::string task_of_adapters(const std::vector<LoraFile>& asked) {
  for (const LoraFile& one : asked)
    if (const Json record = adapter_record(one.file); !record.value("full_layers", Json::array()).empty())
      if (const Json task = record.value("task", Json()); task.is_string()) return task;
  return "";
}

SessionAdapterNames::SessionAdapterNames(const Session& session) : forms_(session.model->file_names()), model_(session.folder.asked) {
  const Json& about = session.model->about().at("parts");
  for (const char* role : {"denoiser", "text_encoder"})
    for (const std::string& name : session.model->parts(role)) {
      if (!session.folder.find(name)) continue;
      AdapterPart part;
      part.name = name, part.is_denoiser = std::string_view(role) == "denoiser";
      part.weights = layer_weights(session, name);
      part.optional_prefix = about.at(name).value("optional_prefix", "");
      part.flattened = about.at(name).value("adapter_prefixes", usual_prefixes(name, part.is_denoiser));
      if (auto form = forms_.find(name); form != forms_.end() && !form->second.empty()) part.form = &form->second.front();
      parts_.push_back(std::move(part));
    }
  names_ = adapter_names(parts_);
}

const AdapterPart& SessionAdapterNames::part(const std::string& name) const {
  return *std::ranges::find(parts_, name, &AdapterPart::name);
}

OpenedAdapter open_adapter(const SessionAdapterNames& names, const std::string& asked, double scale) {
  OpenedAdapter opened{asked, scale, read_adapter_file(file_of(asked), names.names(), names.model()), {}, {}, {}};
  if (const size_t n = opened.file.unknown.size())
    opened.notices.push_back(fmt::format("{}: {} of {} tensors have no place in {} and were left out: {}{}", opened.file.where, n,
                                         opened.file.file.tensors.size(), names.model(), opened.file.unknown.front(), n > 1 ? "; …" : ""));
  opened.layers = layer_adapters(opened.file);
  const Json record = adapter_record(asked);
  if (const Json file = record.value("full_layers_file", Json()); file.is_string()) {
    const Path path = file_of(asked).parent_path() / Path(file.get<std::string>()).filename();
    auto full = open_safetensors(path);
    if (!full && full.error().id == "E4103")
      fail({path.string(), "is not there", fmt::format("The adapter was trained together with the layers in it, as {} says", record_name),
            "copy it beside the adapter", "E7115", Exit::missing});
    opened.full = std::make_unique<SafetensorsFile>(std::move(full).take());
  }
  return opened;
}

Adapters::Adapters(Session& session, const std::vector<LoraFile>& asked) : names_(session) {
  std::vector<Error> errors;
  for (const LoraFile& one : asked) try {
      opened_.push_back(open_adapter(names_, one.file, one.scale));
      for (const std::string& notice : opened_.back().notices) session.notices.push_back(notice);
    } catch (const Failure& f) {
      errors.insert(errors.end(), f.errors.begin(), f.errors.end());
    }
  const std::string& widened = session.model->widened();
  bool brought = widened.empty() || asked.empty();
  const std::vector<NamedShape> known = session.model->declared(session.model->denoiser());
  for (const OpenedAdapter& one : opened_) {
    if (!one.full) continue;
    for (const TensorEntry& tensor : one.full->tensors) {
      auto weight = std::ranges::find_if(known, [&](const NamedShape& w) { return session.model->denoiser() + "." + w.name == tensor.name; });
      if (weight != known.end() && weight->name == widened) brought = true;
      if (weight != known.end() && weight->shape == tensor.shape) continue;
      const Json record = adapter_record(one.asked);
      errors.push_back({one.full->path.string(),
                        weight == known.end() ? fmt::format("holds '{}', which {} does not have", tensor.name, names_.model())
                                              : fmt::format("{} is [{}], of {} [{}]", tensor.name, fmt::join(tensor.shape, ","), names_.model(),
                                                            fmt::join(weight->shape, ",")),
                        record.contains("task") ? fmt::format("The adapter was trained for task {}", record["task"].dump()) : "",
                        "use it with the task and the model that it was trained for", "E7116", Exit::bad_data});
      break;
    }
  }
  if (!brought && errors.empty())
    errors.push_back({asked.front().file, fmt::format("brings no {}", widened),
                      fmt::format("Task '{}' widens this layer, which would see nothing of the picture", session.task->id()),
                      "give an adapter that was trained for the task, with the files beside it, or another --task", "E7117", Exit::usage});
  if (!errors.empty()) throw Failure(std::move(errors));
}

Adapter Adapters::of(const std::string& part, const std::string& weight) const {
  Adapter adapter;
  for (const OpenedAdapter& one : opened_)
    for (const LayerAdapter& layer : one.layers)
      if (layer.part->name == part && layer.weight->name == weight) {
        adapter.low_rank.push_back(layer.low_rank);
        adapter.low_rank.back().scale *= one.scale;
      }
  return adapter;
}

Json Adapters::scheduler_changes() const {
  Json changes = Json::object();
  for (const OpenedAdapter& one : opened_)
    if (const Json own = adapter_record(one.asked).value("scheduler", Json()); own.is_object()) changes.update(own);
  return changes;
}

bool Adapters::touch(const std::string& part) const {
  return std::ranges::any_of(opened_, [&](const OpenedAdapter& one) {
    return one.full || std::ranges::any_of(one.layers, [&](const LayerAdapter& layer) { return layer.part->name == part; });
  });
}

std::vector<std::string> Adapters::full_names(const std::string& part) const {
  std::vector<std::string> names;
  for (const OpenedAdapter& one : opened_)
    if (one.full)
      for (const TensorEntry& tensor : one.full->tensors)
        if (tensor.name.starts_with(part + ".")) names.push_back(tensor.name.substr(part.size() + 1));
  return names;
}

at::Tensor Adapters::full(const std::string& part, const std::string& weight, const at::Tensor& base) const {
  const at::Tensor plain = base.to(at::kFloat);
  at::Tensor sum;
  for (const OpenedAdapter& one : opened_) {
    const TensorEntry* entry = one.full ? one.full->find(part + "." + weight) : nullptr;
    if (!entry) continue;
    const at::Tensor trained = stored_tensor(*entry).to(plain.device(), at::kFloat);
    // The share of the way from the base to what was trained; all of it is that to the bit.
    sum = sum.defined() ? sum + (trained - plain) * one.scale : at::lerp(plain, trained, one.scale);
  }
  return sum;
}

void Adapters::attach(Session& session, const std::string& role) const {
  at::NoGradGuard no_grad;
  for (const std::string& part : session.model->parts(role)) {
    if (!session.model->has(part) || !touch(part)) continue;
    ParamStore& store = session.model->store(part);
    const std::vector<std::string> full_here = full_names(part);
    for (Parameter& p : store.parameters) {
      if (std::ranges::count(full_here, p.name)) p.value.copy_(full(part, p.name, p.value));
      Adapter adapter = of(part, p.name);
      if (adapter.low_rank.empty()) continue;
      const at::ScalarType type = p.value.defined() ? p.value.scalar_type() : at::kFloat;
      auto held = [&](const at::Tensor& t) { return t.defined() ? t.to(session.device, type) : t; };
      for (LowRank& l : adapter.low_rank) l.down = held(l.down), l.up = held(l.up), l.magnitude = held(l.magnitude);
      p.adapter = std::make_shared<const Adapter>(std::move(adapter));
    }
  }
}

}  // namespace t2i
