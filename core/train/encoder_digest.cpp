#include "core/train/encoder_digest.h"

#include "core/base/hash.h"
#include "core/checkpoint/part_files.h"
#include "core/precision/device.h"
#include "core/precision/held.h"
#include "core/quantization.h"
#include "core/single_files.h"

namespace t2i {
namespace {

constexpr int form = 1;  // of what is encoded and how: a change makes every entry another

std::string digest(const WeightSet& weights) {
  Xxh3 hash;
  for (const auto& [name, entry] : weights.tensors) {  // by name
    Json head = {name, std::string(dtype_name(entry->dtype)), entry->shape};
    hash.update(as_bytes(head.dump()));
    hash.update(entry->bytes);
    weights.unload(*entry);
  }
  return hash.hex();
}

// The files of parts that are no networks: tokenizers.
Json small_files(const Session& session) {
  Json files = Json::object();
  const Json networks = session.model->about().at("parts");
  for (const ModelPart& part : session.folder.parts) {
    if (networks.contains(part.name) || part.name == "scheduler") continue;
    for (const PartFile& file : part_files(part))
      if (file.from.extension() != ".safetensors") files[part.name + "/" + file.to.string()] = xxh3_of_file(file.from).take();
  }
  return files;
}

// How the denoiser is configured, but for what a task changes of it: some families shape their texts by it.
Json denoiser_configuration(const Session& session) {
  Json own = session.model->configuration(session.model->denoiser());
  const Json first = session.model->about().value("first_layer", Json::object());
  if (first.contains("config_key")) own.erase(first["config_key"].get<std::string>());
  const Json widened = first.value("config", Json::object());
  for (const auto& [key, value] : widened.items()) own.erase(key);
  own.erase("quantization_config");
  return own;
}

}  // namespace

const char* role_of_kind(const std::string& kind) { return kind == "latents" ? "vae" : "text_encoder"; }

std::string weights_digest(const Session& session, const std::string& part, KnownFiles& known) {
  const WeightSet weights = weights_from(session, *session.folder.part(part).take(), session.variant);
  std::string identity;
  for (const SafetensorsFile& file : weights.files) {
    const std::string one = file_identity(file.path);
    if (one.empty()) return digest(weights);
    identity += one + " ";
  }
  identity = "weights " + part + " " + xxh3_hex(as_bytes(identity));
  if (auto before = known.find(identity)) return *before;
  std::string made = digest(weights);
  if (auto changed = weights.damage()) fail(*changed);
  known.remember(identity, made);
  return made;
}

std::string encoder_fingerprint(const Session& session, const Config& config, const std::string& kind, KnownFiles& known) {
  const Component& plugin = session.model->component();
  Json all = {{"form", form}, {"kind", kind}, {"plugin", plugin.id + " " + plugin.version}, {"parts", Json::object()}};
  for (const std::string& name : session.model->parts(role_of_kind(kind))) {
    const ModelPart* part = session.folder.find(name);
    if (!part) continue;  // a family may do without it
    const HeldType held = held_type(config.model.dtype, config.train.mixed_precision, session.device, session.model->about().at("parts").at(name));
    all["parts"][name] = {{"class", part->class_name},
                          {"config", session.model->configuration(name)},
                          {"weights", weights_digest(session, name, known)},
                          {"held", dtype_name(held.type)},
                          {"packed", quantization_of(session, config.model, name)}};
  }
  if (kind == "text") {
    all["tokenizers"] = small_files(session);
    all["options"] = config.plugin.options;
    all["denoiser"] = denoiser_configuration(session);
  }
  return xxh3_hex(as_bytes(all.dump(-1, ' ', false, Json::error_handler_t::replace)));
}

}  // namespace t2i
