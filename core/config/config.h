// A run's configuration: read from YAML and `--set key=value`, checked as a whole, and handed on as plain structs.
//
// The structs below hold the defaults; knobs.cpp says for each field its range and its sentence, and everything else
// (reading, help, schema, the commented config.yaml) is derived from the two. A nullable text is empty when null.
//
// The options of a model, a task or a loss belong to a plugin that is not loaded when the configuration is read: they are kept
// as JSON and checked later by check_options() in schema_check.h, with the positions remembered here.
#pragma once
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"

namespace t2i {

// A component chosen by name, with the options written beside the name. An empty name: the model's own choice.
struct ComponentConfig {
  std::string name;
  nlohmann::json options = nlohmann::json::object();
};

struct ModelConfig {
  std::string path;            // a diffusers folder, org/name in the local hub cache, or a single file
  std::string base;            // of a single file: the folder with its configurations, tokenizers and scheduler
  std::string vae;             // another folder for this part; empty: the model's own
  std::string text_encoder, text_encoder_2, text_encoder_3;  // likewise
  std::string variant;         // "fp16" reads *.fp16.safetensors
  std::string dtype = "auto";  // of what is frozen: auto (on a GPU as mixed_precision), float32, bfloat16, float16
  std::string quantization = "none";               // of the denoiser's frozen weights: none, nf4, int8
  std::string text_encoder_quantization = "none";  // of the text encoders' likewise
};

struct DataConfig {
  std::string path;
  std::optional<int64_t> resolution;           // pixels; empty: what the model was made for
  std::map<std::string, std::string> columns;  // what a task asks for → the data's own name; a missing one is itself
  bool center_crop = false;
  bool random_flip = true;
  int64_t num_workers = 2;
  std::string on_error = "stop";          // stop, skip
  std::string on_mismatch = "error";      // the images of a pair differ in size: error, resize
  std::string caption_missing = "error";  // error, empty, filename
  int64_t max_pixels = 178956970;         // an image that claims more is refused before memory is taken for it
  bool allow_outside = false;             // may file names leave the data folder?
  bool folder_repeats = true;             // pictures in a folder named 10_cats count ten times
  std::vector<std::string> buckets;       // sizes: auto, auto:768, 512x768; empty: one square of `resolution`
  int64_t bucket_step = 64;               // pixels between the sides of auto's sizes
  double bucket_max_aspect = 2;           // of auto's sizes, the longer side over the shorter
  std::map<std::string, std::string> caption_weights;  // columns with captions of one picture → how often; empty: the task's own
  std::string caption_prefix, caption_suffix;
  bool shuffle_tags = false;
  std::string tag_separator = ",";
  int64_t keep_tags = 0;                  // so many of the first stay where they are
  std::string cache = "off";              // off, auto (what is missing is built), only
  std::string cache_dir;                  // empty: beside the data
  std::vector<std::string> cache_kinds = {"latents", "text"};
  int64_t cache_crops = 1;                // of a picture
  int64_t cache_shuffles = 4;             // of a caption, with shuffle_tags
};

struct TrainConfig {
  std::optional<int64_t> max_train_steps;  // wins over the epochs when both are set
  int64_t num_train_epochs = 10;
  int64_t train_batch_size = 4;  // per process
  int64_t gradient_accumulation_steps = 2;
  std::string mixed_precision = "bf16";  // no, fp32 (the same), fp16, bf16
  bool gradient_checkpointing = true;
  int64_t checkpoint_every_n_blocks = 1;       // with gradient_checkpointing: blocks 0, n, 2n … are run again
  std::optional<double> activation_memory_gb;  // the same, of as few blocks as this many GB allow
  bool offload_activations = false;            // what recomputed blocks run on waits in host memory
  int64_t blocks_to_swap = 0;                  // so many blocks' frozen matrices wait there until they are used
  double max_grad_norm = 1.0;  // 0: no clipping
  int64_t seed = 42;
  std::string null_text = "as_drawn";  // what is learnt for a dropped text: as_drawn, encoded
  bool use_ema = false;
  double ema_decay = 0.9999;
  std::string device = "auto";          // auto, cpu, cuda
  int64_t num_threads = 0;              // of the CPU's arithmetic; 0: as many as there are cores
  std::string dtype = "float32";        // the trained weights as stored
  int64_t log_every_steps = 10;         // how often metrics are fetched from the device and written
  int64_t max_nan_skips = 0;            // steps with a loss that is no number, left out before the run stops
  std::vector<std::string> parameters;  // patterns (* is any text) of what is trained; empty: everything
  std::vector<std::string> text_encoders;  // parts that are trained in full beside the denoiser
};

// A low-rank adapter beside frozen weights. Without a rank there is none, and the weights themselves are trained.
struct LoraConfig {
  std::optional<int64_t> rank;
  double alpha = 16;  // the adapter counts alpha / rank times
  double dropout = 0;
  std::vector<std::string> targets = {"attention"};  // words of the family, patterns (* is any text), or all
  std::vector<std::string> text_encoders;            // parts whose attention is adapted too
  bool use_rslora = false;                           // alpha / sqrt(rank) instead
  bool use_dora = false;
  std::string init_from;                             // an adapter to go on with
  std::vector<std::string> formats = {"diffusers"};  // of final/: diffusers, kohya
};

struct OptimizerConfig {
  std::string name = "adamw";           // optimizer_check.h knows which
  std::optional<double> learning_rate;  // empty: the optimizer's own, learning_rate_of()
  std::optional<double> transformer_lr;   // of the parts, where they have one of their own: rates.h
  std::optional<double> text_encoder_lr, text_encoder_2_lr, text_encoder_3_lr;
  std::string lr_scheduler = "constant";  // lr_schedule.h knows the names
  int64_t lr_warmup_steps = 0;
  int64_t lr_num_cycles = 1;  // of cosine_with_restarts
  double lr_power = 1.0;      // of polynomial
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_weight_decay = 1e-2;
  double adam_epsilon = 1e-8;
  double lion_beta1 = 0.9;
  double lion_beta2 = 0.99;
  double lion_weight_decay = 0;
  double adafactor_beta1 = 0;  // 0: no first moment
  double adafactor_decay_rate = -0.8;
  double adafactor_eps1 = 1e-30;
  double adafactor_eps2 = 1e-3;
  double adafactor_clip_threshold = 1.0;
  double adafactor_weight_decay = 0;
  bool adafactor_scale_parameter = true;
  bool adafactor_relative_step = true;
  bool adafactor_warmup_init = false;
  double prodigy_beta3 = 0;  // 0: the root of adam_beta2
  double prodigy_weight_decay = 0;
  bool prodigy_decouple = true;
  bool prodigy_use_bias_correction = false;
  bool prodigy_safeguard_warmup = false;
  double prodigy_d0 = 1e-6;
  double prodigy_d_coef = 1.0;
  double prodigy_growth_rate = 0;  // 0: any
  double schedule_free_weight_decay = 0;
  int64_t schedule_free_warmup_steps = 0;
  double schedule_free_r = 0;
  double schedule_free_weight_lr_power = 2.0;
  std::string bf16_weights = "split";  // split, stochastic_rounding, plain
  bool fused_backward = false;         // each weight is updated as soon as backward has its gradient
};

struct CheckpointConfig {
  int64_t every_steps = 500;  // 0: only at the end
  int64_t keep = 3;           // the newest so many stay
  bool report = true;         // report.html is written anew with each
};

struct ValidationConfig {
  int64_t every_steps = 500;  // 0: never
  std::vector<std::string> prompts;
  std::vector<std::string> images;  // one per prompt, or one for all
  int64_t steps = 20;
  double guidance_scale = 7.5;
  double image_guidance_scale = 1.5;
  std::string negative_prompt;
  int64_t seed = 1;
  int64_t num_images = 1;  // per prompt
  std::string sampler;     // empty: the model folder's own
};

// For report_to: [wandb]. What is empty is taken from the client's own environment variables.
struct WandbConfig {
  std::string project;  // empty there too: t2i
  std::string entity;
  std::string run_name; // empty there too: the output folder's
};

// Where final/ is uploaded to when the run is done; without a repo nowhere.
struct HubConfig {
  std::string repo;        // "org/name"
  bool is_private = true;  // of a repository that is made for it
  std::string license;     // of the model card; empty: that of the base model's card
};

struct Config {
  ComponentConfig plugin;  // the model family; no name: as model_index.json says
  ComponentConfig task, loss;
  ModelConfig model;
  DataConfig data;
  TrainConfig train;
  LoraConfig lora;
  OptimizerConfig optimizer;
  CheckpointConfig checkpoint;
  ValidationConfig validation;
  std::string output;
  std::vector<std::string> report_to = {"tensorboard"};
  WandbConfig wandb;
  HubConfig hub;

  // Where a key was set: "train.seed" → "first.yaml:14:3" or "--set train.seed". A key left at its default is absent.
  std::map<std::string, std::string> positions;
};

// One assignment from the command line. `origin` is what the user typed, for messages: "--set loss.gamma", "--loss".
struct Setting {
  std::string key, value, origin;
};

// Splits "a.b=v". Error E1008 when there is no '='.
Result<Setting> parse_setting(const std::string& text);

// The component that the key "plugin", "task" or "loss" chooses.
ComponentConfig& chosen_component(Config& config, const std::string& key);

// Reads the file (if any), then applies the settings in order, then checks every key, type and range.
// Throws Failure with all problems at once; a file that cannot be read is E4103 to E4106 of core/base/file.h.
Config load_config(const std::optional<std::string>& yaml_path, const std::vector<Setting>& settings);

// The same on text already read; `name` stands for the file in messages.
Config load_config_text(const std::string& text, const std::string& name, const std::vector<Setting>& settings);

// What training cannot start without (model.path, data.path, output), nothing_to_pack() and nothing_to_swap(). Empty when
// all is there.
std::vector<Error> missing_for_run(const Config& config);

// E7150 where weights that are not trained are to be packed and none is: neither a run nor its gradients make sense.
std::vector<Error> nothing_to_pack(const Config& config);
// E7300 where weights that are not trained are to wait in host memory, likewise.
std::vector<Error> nothing_to_swap(const Config& config);

// The whole configuration, defaults included, as one JSON object in the order of the tables.
nlohmann::ordered_json to_json(const Config& config);

// The resolved configuration as YAML, each knob under its sentence. load_config_text() of it gives the same Config.
std::string write_config(const Config& config);

// 32 hexadecimal digits that depend on the values alone, not on the order or place they were written in.
std::string config_hash(const Config& config);

// What differs between the configuration of a run and the one it is asked to go on with. Values are JSON text.
struct ConfigChange {
  std::string key, before, after;
};
struct ConfigDiff {
  std::vector<ConfigChange> safe;  // how long, how often to log, save and validate: the weights of a step stay the same
  std::vector<ConfigChange> unsafe;  // anything else
};
ConfigDiff diff_configs(const Config& before, const Config& after);

// The samplers that validation and `generate` know by name.
const std::vector<std::string>& known_samplers();

// The JSON Schema of config.yaml, for editors.
nlohmann::ordered_json json_schema();

}  // namespace t2i
