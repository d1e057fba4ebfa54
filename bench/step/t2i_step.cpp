// Times whole training steps on one batch. diffusers_step.py does the same with diffusers; run.py compares the two.
//     t2i_step --model FOLDER --inputs IN.safetensors --steps N [--dtype float32|bfloat16] [--threads T] [--recompute]
//              [--parameters PATTERN]... [--ops | --draws OUT.safetensors]
// IN holds latents [n,C,h,w], rng [n,3], prompt_embeds and what else the family is given, with its null twin; the step in
// rng goes up with every step.
// bfloat16 is train.mixed_precision: bf16, so weights, gradients and AdamW's moments stay float32. Prints a line of
// JSON. With --ops it prints the time of each operator in the last step instead; with --draws it trains nothing and
// writes the noise and timesteps that the steps draw, for the twin to take.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "bench/step/op_times.h"
#include "bench/step/process.h"
#include "core/base/json.h"
#include "core/checkpoint/safetensors.h"
#include "core/config/optimizer_check.h"
#include "core/kernel/draw.h"
#include "core/memory/host_allocator.h"
#include "core/model/load.h"
#include "core/precision/device.h"
#include "core/session.h"
#include "core/train/pattern.h"
#include "core/train/step.h"

namespace {

using namespace t2i;

struct Arguments {
  std::string model, inputs, draws, dtype = "float32";
  std::vector<std::string> parameters;
  int64_t steps = 1, threads = 0;
  bool recompute = false, ops = false;
};

Arguments read_arguments(int argc, char** argv) {
  Arguments a;
  std::map<std::string, std::string*> texts{
      {"--model", &a.model}, {"--inputs", &a.inputs}, {"--draws", &a.draws}, {"--dtype", &a.dtype}};
  std::map<std::string, int64_t*> numbers{{"--steps", &a.steps}, {"--threads", &a.threads}};
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    if (name == "--recompute") a.recompute = true;
    else if (name == "--ops") a.ops = true;
    else if (i + 1 < argc && name == "--parameters") a.parameters.push_back(argv[++i]);
    else if (i + 1 < argc && texts.contains(name)) *texts.at(name) = argv[++i];
    else if (i + 1 < argc && numbers.contains(name)) *numbers.at(name) = std::atoll(argv[++i]);
    else fail({name, "is no option, or lacks its value", "", "see the head of t2i_step.cpp", "E1021", Exit::usage});
  }
  return a;
}

// As `t2i run` would have it after --task text with the family's own loss; what is left out keeps the product's defaults.
Config configuration(const Arguments& a) {
  std::vector<Setting> settings;
  auto set = [&](const std::string& key, const std::string& value) { settings.push_back({key, value, "t2i_step"}); };
  set("model.path", a.model);
  set("task", "text");
  set("task.conditioning_dropout_prob", "0");  // the twin drops no prompts
  set("train.device", "cpu");
  set("train.mixed_precision", a.dtype == "bfloat16" ? "bf16" : "fp32");
  set("train.gradient_accumulation_steps", "1");
  set("train.gradient_checkpointing", a.recompute ? "true" : "false");
  set("train.num_threads", std::to_string(a.threads));
  Config config = load_config(std::nullopt, settings);
  config.train.parameters = a.parameters;
  return config;
}

Tensors read_batch(const std::string& path) {
  SafetensorsFile file = open_safetensors(path).take();
  Tensors batch;
  for (const TensorEntry& e : file.tensors) batch[e.name] = stored_tensor(e).clone();
  return batch;
}

Tensors batch_of_step(const Tensors& batch, int64_t step) {
  Tensors given = batch;
  given["rng"] = batch.at("rng").clone();
  given["rng"].select(1, 1).fill_(step);
  return given;
}

void write_draws(Session& session, const Tensors& batch, int64_t steps, const std::string& path) {
  std::map<std::string, at::Tensor> drawn;
  for (int64_t k = 0; k < steps; ++k) {
    Tensors given = batch_of_step(batch, k);
    at::Tensor noise = draw_normal(given.at("rng"), "noise", given.at("latents").sizes().slice(1));
    given["noise"] = drawn[fmt::format("noise.{}", k)] = noise;
    drawn[fmt::format("timesteps.{}", k)] = session.loss->draw(given).contiguous();
  }
  std::vector<TensorSource> sources;
  for (const auto& [name, tensor] : drawn) sources.push_back(tensor_source(name, tensor));
  write_safetensors(path, sources);
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Json timed_steps(Session& session, const Config& config, const Tensors& batch, int64_t steps, bool ops) {
  double before = now_seconds();
  TrainState state;
  auto is_trained = [&](const std::string& name) { return matches_any(name, config.train.parameters); };
  state.weights = &load_part(session, config, session.model->denoiser(), at::kFloat, is_trained);
  double load_seconds = now_seconds() - before;
  state.weights->recompute.every = config.train.gradient_checkpointing;
  state.optimizer = Optimizer(config.optimizer, *state.weights, config.train.seed);
  at::ScalarType compute = dtype_from(config.train.mixed_precision, "train.mixed_precision");
  state.loss_scale = LossScale(session.device, compute == at::kHalf);
  auto group = single_group();
  StepContext context{*session.model,   *session.task, *session.loss, *group, config.train,
                      config.optimizer, compute,       nullptr,       {},            nullptr};

  std::vector<double> losses, seconds, processor;
  double first_step = 0;
  for (int64_t k = 0; k < steps; ++k) {
    if (ops && k + 1 == steps) start_op_times();
    before = now_seconds();
    double processor_before = processor_seconds();
    StepResult result = train_step(context, state, learning_rate_of(config.optimizer), false,
                                   [&](int64_t) { return batch_of_step(batch, state.step); });
    losses.push_back(result.loss.item<double>());
    seconds.push_back(now_seconds() - before);
    processor.push_back(processor_seconds() - processor_before);
    if (k == 0) first_step = seconds_since_start();
  }
  return {{"side", "t2i"},
          {"losses", losses},
          {"step_seconds", seconds},
          {"processor_seconds", processor},
          {"peak_bytes", peak_memory_bytes()},
          {"first_step_seconds", first_step},
          {"load_seconds", load_seconds},
          {"parameters", state.weights->count()}};
}

}  // namespace

int main(int argc, char** argv) {
  use_host_arena();  // as the engine does at its start
  try {
    Arguments arguments = read_arguments(argc, argv);
    Config config = configuration(arguments);
    set_compute_threads(arguments.threads ? static_cast<int>(arguments.threads) : default_threads(1));
    auto session = open_session(config, {}, {.loss = true, .device = config.train.device});
    Tensors batch = read_batch(arguments.inputs);
    if (!arguments.draws.empty()) write_draws(*session, batch, arguments.steps, arguments.draws);
    else {
      Json times = timed_steps(*session, config, batch, arguments.steps, arguments.ops);
      std::printf("%s\n", arguments.ops ? op_times().c_str() : times.dump().c_str());
    }
  } catch (const Failure& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return static_cast<int>(failure.exit());
  }
  return 0;
}
