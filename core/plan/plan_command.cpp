#include "core/plan/plan_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "core/base/file.h"
#include "core/base/number_text.h"
#include "core/metric/job_progress.h"
#include "core/plan/report.h"
#include "core/plan/switches.h"
#include "core/precision/device.h"
#include "core/train/batch_source.h"
#include "core/validation.h"

namespace t2i {
namespace {

bool is_for_gpu(const PlanOptions& options) {
  const std::string& device = options.config.train.device;
  if (device != "auto") return device == "cuda";
  return choose_device("auto").is_cuda();
}

uint64_t memory_of(const PlanOptions& options, bool gpu) {
  if (options.memory_bytes) return options.memory_bytes;
  if (gpu) choose_device("cuda");  // E4010 where there is none to ask
  return memory_there(gpu);
}

// The disk that will hold `output`, whose folders need not be there yet.
uint64_t free_bytes(std::filesystem::path output) {
  if (output.empty()) output = ".";
  output = std::filesystem::absolute(output);
  while (!std::filesystem::exists(output) && output.has_parent_path() && output != output.parent_path()) output = output.parent_path();
  return static_cast<uint64_t>(std::max<int64_t>(0, real_file_system().free_bytes(output)));
}

// The first switch with which the run fits, tried one by one; else the one that helps most.
Error does_not_fit(const Plan& plan, const Config& config, const RunData& data, const MemoryQuestion& question, uint64_t program_bytes) {
  Error error{"memory",
              fmt::format("the run needs {} and there are {}", bytes_text(plan.memory.needed), bytes_text(plan.memory_there)),
              "", "", "E7250", Exit::config};
  uint64_t least = plan.memory.needed;
  std::string best;
  JobProgress progress;
  const std::vector<Switch> switches = memory_switches(config, question.gpu);
  double tried = 0;
  for (const Switch& s : switches) {
    progress.update("looking for what makes it fit", tried++, static_cast<double>(switches.size()), s.text);
    uint64_t needed = 0;
    try {
      needed = plan_memory(s.config, data, plan.data, question, program_bytes).needed;
    } catch (const Failure&) {
      continue;  // this model, or its data, does not go with it
    }
    if (needed <= plan.memory_there) {
      error.todo = fmt::format("set {}: it then needs {}", s.text, bytes_text(needed));
      return error;
    }
    if (needed < least) least = needed, best = s.text;
  }
  error.why = "No single setting makes it fit";
  error.todo = best.empty() ? "use a smaller model or data.resolution, or a larger machine"
                            : fmt::format("begin with {} ({}), and lower data.resolution or use a larger machine", best, bytes_text(least));
  return error;
}

}  // namespace

int plan_command(const PlanOptions& options) {
  const Config& config = options.config;
  const bool gpu = is_for_gpu(options);
  const uint64_t there = memory_of(options, gpu);
  auto session = open_session(config, options.plugin_paths, {.loss = true, .device = "cpu"});
  require_parts(*session, {"text_encoder", "vae", "denoiser"});
  check_validation(*session, config);

  RunData data = open_run_data(config, *session);
  Plan plan;
  plan.model = session->model->id(), plan.task = session->task->id(), plan.loss = session->loss->id();
  plan.device = gpu ? "cuda" : "cpu";
  plan.data = look_at_data(config, *session, data);
  for (const std::string& notice : session->notices) plan.data.notices.push_back(notice);
  for (const std::string& line : bucket_lines(data, config)) plan.data.notices.push_back(line);
  plan.resolution = data.resolution;
  plan.processes = options.processes;
  const BatchPlan batches{0, config.train.train_batch_size, config.train.gradient_accumulation_steps, 0, static_cast<int>(options.processes)};
  plan.samples_a_step = batches.per_step();
  plan.steps = steps_of(config, samples_of_epoch(data, config), plan.samples_a_step);

  const MemoryQuestion question{options.plugin_paths, gpu, options.processes};
  const auto program_bytes = static_cast<uint64_t>(memory_use(at::kCPU).peak_bytes);
  plan.memory = plan_memory(config, data, plan.data, question, program_bytes);
  plan.memory_there = there;
  plan.output = config.output;
  plan.disk_free = free_bytes(config.output);

  if (options.json) std::printf("%s\n", plan_json(plan).dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  else std::printf("%s", printable(plan_text(plan)).c_str());
  std::fflush(stdout);
  std::vector<Error> problems;
  if (plan.memory.needed > there) problems.push_back(does_not_fit(plan, config, data, question, program_bytes));
  if (plan.memory.rehearsal.space.all > plan.disk_free)
    problems.push_back({config.output.empty() ? "disk" : config.output,
                        fmt::format("the run will leave {} and {} are free", bytes_text(plan.memory.rehearsal.space.all), bytes_text(plan.disk_free)),
                        "", "make room, or lower checkpoint.keep", "E7252", Exit::config});
  if (!problems.empty()) throw Failure(problems);
  return 0;
}

}  // namespace t2i
