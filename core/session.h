// Everything a command works with, opened in order: plugins, the model's folder, model, task, loss. No weights yet.
#pragma once
#include <c10/core/Device.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/config/config.h"
#include "core/model/load.h"
#include "core/plug/loss.h"
#include "core/plug/model.h"
#include "core/plug/task.h"

namespace t2i {

struct Session {
  Registry registry;
  ModelFolder folder;
  std::string variant;   // model.variant
  FileNames file_names;  // of the family, where a part comes from a single file
  std::string model_options, task_options, loss_options;  // resolved, as JSON text: part of what a checkpoint depends on
  std::unique_ptr<Model> model;
  std::unique_ptr<Task> task;
  std::unique_ptr<Loss> loss;  // null unless asked for
  at::Device device = at::kCPU;
  bool held_as_on_gpu = false;  // frozen parts in the type that a GPU would hold them in: what is planned for one
  std::vector<std::string> notices;  // to be shown once

  Session(std::vector<std::filesystem::path> search);
};

struct SessionNeeds {
  bool loss = false;
  bool task = true;  // false: only where the configuration names one
  std::string device = "auto";
  int local_rank = 0;
};

// What the configuration leaves open, the folder decides: the model by its pipeline class, the task by what the model
// says opens such a folder, the loss by the model's default. Failure with every problem.
std::unique_ptr<Session> open_session(const Config& config, const std::vector<std::string>& plugin_paths, const SessionNeeds& needs);

// Are the parts of these roles in the folder? Failure E2013 with all that are not.
void require_parts(const Session& session, const std::vector<std::string>& roles);

// How a part's files name its parameters.
LoadRules load_rules(const Session& session, const std::string& part);

// In which type weights that are not trained are held: that of the part, or as model.dtype says
// (held_type_beside_trained()), with the part's for all that is computed.
enum class FrozenAs { the_part, model_dtype };

// Builds a part and fills it from the folder (config.model.vae and .text_encoder may name another). `is_trained` by name;
// of the rest model.quantization and .text_encoder_quantization say what is packed (core/quantization.h).
// What the model adds to the part begins as train.seed has it.
ParamStore& load_part(Session& session, const Config& config, const std::string& part, at::ScalarType dtype,
                      const std::function<bool(const std::string&)>& is_trained = [](const std::string&) { return false; },
                      FrozenAs frozen = FrozenAs::the_part);

// All parts of a role. One that is not made for `dtype` is held in float32, and a notice says so.
void load_role(Session& session, const Config& config, const std::string& role, at::ScalarType dtype);

// The same for a role of which nothing is trained but what train.text_encoders names, and that is left out: held as
// model.dtype says, where the model allows it, else in float32. A part with adapters beside its weights is computed in
// float32, whatever these are held in.
void load_frozen_role(Session& session, const Config& config, const std::string& role);

// Teaching a model another prediction than it was made for is allowed, and a common slip: a sentence that says so, empty
// where it is not done.
std::string changed_prediction(const Session& session);

// "held in bfloat16: text_encoder (246.1 MB), vae (167.3 MB)": frozen weights that are not packed; empty where all of
// them are float32.
std::string lower_precision_text(const Session& session, const std::vector<std::string>& roles);

// What a part's weights are held as, what takes most first: "bfloat16", "nf4", "bfloat16, float32". What takes less than a
// hundredth is left out.
std::string held_as(const ParamStore& store);

}  // namespace t2i
