// Adapters between the session and their files: the names that this model's layers have in them, the adapters that a person
// asked for, and the layers that were trained in full beside one.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/commands.h"
#include "core/model/adapter_load.h"
#include "core/session.h"

namespace t2i {

// What adapter.json, beside an adapter that a run left, says of it; an empty object where it says nothing. `asked` as below.
Json adapter_record(const std::string& asked);

// The task of the first of these adapters that brings layers of its task; empty where none does.
std::string task_of_adapters(const std::vector<LoraFile>& asked);

// The names of all layers of the denoiser and the text encoders that the session's model has.
class SessionAdapterNames {
  std::vector<AdapterPart> parts_;
  FileNames forms_;
  AdapterNames names_;
  std::string model_;

 public:
  explicit SessionAdapterNames(const Session& session);
  SessionAdapterNames(const SessionAdapterNames&) = delete;
  const AdapterNames& names() const { return names_; }
  const AdapterPart& part(const std::string& name) const;
  const std::string& model() const { return model_; }  // "weights/sd", for messages
};

struct OpenedAdapter {
  std::string asked;  // as the person wrote it
  double scale = 1;   // of the whole
  AdapterFile file;
  std::vector<LayerAdapter> layers;
  std::unique_ptr<SafetensorsFile> full;  // layers trained in full, by "PART.NAME"; null where there are none
  std::vector<std::string> notices;
};

// `asked`: a file, or a run's final/. Errors: those of read_adapter_file, and E7115 where layers that were trained in full
// should lie beside the adapter and do not.
OpenedAdapter open_adapter(const SessionAdapterNames& names, const std::string& asked, double scale);

// The adapters that a command was asked for.
class Adapters {
  SessionAdapterNames names_;
  std::vector<OpenedAdapter> opened_;

 public:
  // Adds to the session's notices. Failure with all problems of all files; E7116 where a layer trained in full has another
  // shape than the session's model, and E7117 where the model's first layer was widened for the task and no adapter brings it.
  Adapters(Session& session, const std::vector<LoraFile>& asked);

  // Puts them beside the loaded weights of a role's parts.
  void attach(Session& session, const std::string& role) const;

  // What the losses that they were trained with write over scheduler_config.json.
  Json scheduler_changes() const;

  // What is beside this weight, in float32 in host memory; empty for none.
  Adapter of(const std::string& part, const std::string& weight) const;
  bool touch(const std::string& part) const;
  // The weight as it is with what was trained in full in its place, in float32; undefined where none of them has it.
  at::Tensor full(const std::string& part, const std::string& weight, const at::Tensor& base) const;
  std::vector<std::string> full_names(const std::string& part) const;
};

}  // namespace t2i
