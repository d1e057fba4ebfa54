// What each command asks of the engine. The front end (apps/t2i) fills one of these and hands it over the door below;
// the engine does the work. Both are built together, so plain structs may cross.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/config/config.h"

namespace t2i {

// "run": train, or go on with what the output folder holds.
struct RunOptions {
  Config config;
  std::vector<std::string> allow_change;  // keys that may differ from the interrupted run's although that is not safe
  std::vector<std::string> plugin_paths;  // plugin libraries, or folders of them, besides the built-in ones
  bool steal_lock = false;                // although a run on another host did not release the output folder
};

// --lora FILE[:SCALE]: an adapter's file, or the final/ of a run that trained one.
struct LoraFile {
  std::string file;
  double scale = 1.0;
};

// "generate": images from a model folder.
struct GenerateOptions {
  ModelConfig model;       // its path, variant, and parts to take from elsewhere
  ComponentConfig plugin;  // no name: as model_index.json says
  ComponentConfig task;
  std::vector<LoraFile> loras;  // all at once
  std::vector<std::string> images;   // one per prompt, or one for all
  std::vector<std::string> prompts;  // those of --prompt; either these or prompts_file
  std::string prompts_file;          // one prompt a line
  std::string negative;
  std::optional<int64_t> steps;  // empty: 50, or the folder's own
  std::optional<double> guidance, image_guidance;
  std::string sampler;  // empty: the folder's own
  int64_t seed = 0;
  int64_t width = 0, height = 0;  // pixels; 0: what the model was made for
  int64_t count = 1;              // images per prompt
  int64_t batch = 1;
  std::string format = "simple";  // simple, coco
  std::string output;             // a .png for one image, else a folder
  std::string latents, save_latents;
  bool resume = false;  // pictures that are there with the same parameters stay
  std::string dtype = "float32", device = "auto";
  std::vector<std::string> plugin_paths;
};

// "probe": one piece of a model on tensors from a file.
struct ProbeOptions {
  std::string what;  // tokens, text, encode, decode, forward, step
  Config config;     // model.path, plugin, task, loss and their options
  std::string inputs, outputs;
  std::vector<std::string> prompts;
  std::string dtype = "float32", device = "cpu";
  bool grads = false;
  std::vector<std::string> plugin_paths;
};

// "export": a model in another form.
struct ExportOptions {
  ModelConfig model;       // its path, base, variant, and parts to take from elsewhere
  ComponentConfig plugin;  // no name: as model_index.json says
  std::string output;
  std::string format;  // diffusers (a folder) or single-file
  std::string dtype;   // of floating-point tensors; empty: each as it is stored
  std::string quantization, text_encoder_quantization;  // none, nf4, int8; empty: as it is stored
  std::string task;    // whose pipeline a folder is for; empty: as model_index.json says
  std::vector<LoraFile> loras;  // to be merged into the weights
  std::vector<std::string> plugin_paths;
};

// "plan": what a run would take, without its work.
struct PlanOptions {
  Config config;
  uint64_t memory_bytes = 0;  // to fit into; 0: what there is
  int64_t processes = 1;
  bool json = false;
  std::vector<std::string> plugin_paths;
};

// "validate": everything that is wrong with a data set.
struct ValidateOptions {
  Config config;                   // data.path and what is said of it; task, model
  bool decode = false;             // every picture, not only its header
  bool all = false;                // list every problem, not the first of each kind
  bool json = false;
  std::vector<std::string> allow;  // kinds that are no problem
  std::vector<std::string> plugin_paths;
};

// "convert": a data set in another layout.
struct ConvertOptions {
  Config config;       // data.path and what is said of it; task
  std::string to;      // triplets, image_txt, kohya, imagefolder, parquet, webdataset
  std::string output;  // must not be there
  std::string name;    // kohya: of folders, where the data has none
  bool link = false;   // hard links in place of copies, where the disk is the same
  bool once = false;   // repeated rows are written once
  std::vector<std::string> plugin_paths;
};

// "cache": what a run's pictures and texts were encoded to.
struct CacheOptions {
  std::string action;  // build, list, verify, rm, gc
  Config config;       // build; the others: data.path or data.cache_dir, unless `folder` is given
  std::string folder;  // of the cache
  bool for_config = false;  // gc: the configuration names a model, whose entries stay while others go
  std::vector<std::string> sources, texts, kinds, encoders;  // list, rm: patterns (* is any text); beginnings of digests
  bool all = false;         // rm
  bool rehash = false;      // build: every file is read again
  bool fix = false;         // verify: what is damaged is taken out
  bool dry_run = false;     // build, rm, gc: only say it
  bool json = false;
  std::vector<std::string> plugin_paths;
};

// "plugins": what is there, what one offers, whether a library keeps its contract.
struct PluginsOptions {
  std::string action;   // list, info, check
  std::string subject;  // info: an id; check: a file
  std::string only;     // check: a group, group/name or rule; empty: all
  std::string model;    // check: a model folder to check models on; empty: they are not built
  int64_t seed = 1;     // check: of the random tensors
  bool json = false;        // check: one JSON object instead of lines
  bool in_process = false;  // check: not in child processes
  std::vector<std::string> plugin_paths;
};

// "doctor": what the engine has to say of LibTorch, GPUs and plugins, as JSON (EngineFacts of core/doctor/machine.h).
struct DoctorOptions {
  std::vector<std::string> plugin_paths;
  nlohmann::json* facts = nullptr;
};

}  // namespace t2i

// The only symbol bin/t2i looks up in libt2i_engine.so. `command` names one of the structs above, `options` points to
// it. Prints its own errors; returns the exit code. Never throws.
extern "C" int t2i_engine_command(const char* command, const void* options);
