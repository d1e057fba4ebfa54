// The life of a run on one page: who am I → what is asked → open → load → resume → train → leave a folder behind.
#include "core/run.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/base/version.h"
#include "core/checkpoint/commit.h"
#include "core/checkpoint/run_lock.h"
#include "core/config/rates.h"
#include "core/dist/group.h"
#include "core/dist/reducer.h"
#include "core/metric/job_progress.h"
#include "core/model/block_swap.h"
#include "core/observers.h"
#include "core/plan/block_choice.h"
#include "core/precision/device.h"
#include "core/quantization.h"
#include "core/session.h"
#include "core/train/adapter.h"
#include "core/train/bad_samples.h"
#include "core/train/cached_run.h"
#include "core/train/final_folder.h"
#include "core/train/fused_backward.h"
#include "core/train/loop.h"
#include "core/train/pattern.h"
#include "core/train/resume.h"
#include "core/train/run_data.h"
#include "core/train/run_state.h"
#include "core/train/saved_state.h"
#include "core/train/space.h"
#include "core/train/stop_signal.h"
#include "core/train/text_encoders.h"
#include "core/validation.h"

namespace t2i {
namespace {

// The last line of a run, or lines: what its processes took at most, each for itself.
void tell_peak_memory(const std::vector<std::string>& by_rank, Logbook& logbook) {
  if (by_rank.size() == 1) return logbook.note("peak memory: " + by_rank[0]);
  for (size_t rank = 0; rank < by_rank.size(); ++rank) logbook.note(fmt::format("peak memory of rank {}: {}", rank, by_rank[rank]));
}

// Does the task edit a picture, rather than only draw one?
bool reads_pictures(const Session& session) {
  return std::ranges::any_of(session.task->columns(), [](const TaskColumn& column) { return column.use == "source"; });
}

}  // namespace

int run_command(const RunOptions& options) {
  const Config& config = options.config;
  if (auto missing = missing_for_run(config); !missing.empty()) throw Failure(missing);
  install_stop_signals();

  // Who am I, and with whom.
  Launch launch = launch_from_environment().take();
  int threads = static_cast<int>(config.train.num_threads);
  set_compute_threads(threads ? threads : default_threads(launch.local_world));
  Observers observers(config, launch.rank == 0);
  auto session = open_session(config, options.plugin_paths, {.loss = true, .device = config.train.device, .local_rank = launch.local_rank});
  auto group = make_group(launch, session->device, 600);
  std::optional<RunLock> lock;
  if (group->is_first()) lock.emplace(RunLock::acquire(config.output, options.steal_lock).take());
  group->barrier("the output folder's lock");
  JobProgress::Setup shown = JobProgress::on_stderr();
  shown.silent = !group->is_first();
  std::optional<JobProgress> loading(std::in_place, shown);  // until training has its own line
  loading->watch_files();
  if (config.optimizer.fused_backward && group->world() > 1)
    fail({"optimizer.fused_backward", fmt::format("does not go with {} processes", group->world()), "They average their gradients before the weights change",
          "set it to false, or run one process", "E7204", Exit::config});

  // What would otherwise be found after hours.
  require_parts(*session, {"text_encoder", "vae", "denoiser"});
  if (!session->model->parts("text_encoder").empty()) session->model->tokenize({""});
  check_validation(*session, config);
  require_trainable(*session, config);

  // What to train on.
  RunData data = open_run_data(config, *session);
  const Dataset& dataset = data.dataset;
  BatchPlan plan{static_cast<uint64_t>(config.train.seed), config.train.train_batch_size, config.train.gradient_accumulation_steps,
                 group->rank(), group->world(), bucket_order(data, config)};
  int64_t rows = samples_of_epoch(data, config);
  int64_t max_steps = steps_of(config, rows, plan.per_step());
  require_equal(*group, {{"configuration", config_hash(config)}, {"data", dataset.fingerprint}, {"t2i", version}});

  // What the encoders make of it, where it is cached: what is missing is encoded now, and they are not loaded again unless
  // pictures are to be drawn.
  const bool draws = config.validation.every_steps > 0 && !config.validation.prompts.empty();
  std::vector<std::string> cached;
  std::unique_ptr<RunCache> cache = prepare_cache(*session, config, data, *group, draws, cached);
  if (config.data.cache != "off" && !cache) return static_cast<int>(Exit::preempted);

  // The weights: the denoiser, or an adapter beside it, is trained, with text encoders where asked for; the rest is frozen.
  at::ScalarType compute = dtype_from(config.train.mixed_precision, "train.mixed_precision");
  for (const char* role : {"text_encoder", "vae"})
    if (draws || !cache || !cache->stands_in_for(role)) load_frozen_role(*session, config, role);
  TrainState state = start_state(*session, config, compute);
  if (group->world() > 1) require_equal(*group, loaded_weights(*session));
  std::string kept;
  if (config.train.activation_memory_gb) {
    BlockChoice choice = choose_blocks(config, data, {.plugin_paths = options.plugin_paths, .gpu = session->device.is_cuda()});
    state.weights->recompute = choice.plan;
    kept = to_text(choice, config);
  }

  // Where an earlier attempt left off.
  RunCounts counts = resume(options, *session, dataset, *group, state);
  if (group->is_first()) require_space(config, *session, state, max_steps);
  loading.reset();
  Logbook logbook(config, *group, state.step, counts.nan_skips, max_steps, compute == at::kHalf, session->device);
  for (const std::string& n : counts.notices) logbook.record("notice", n);
  if (std::string n = changed_prediction(*session); !n.empty()) logbook.note("notice: " + n);
  for (const std::string& n : session->notices) logbook.note("notice: " + n);
  for (const std::string& n : dataset.notices) logbook.note("notice: " + n);
  if (group->is_first())
    for (const std::string& n : long_text_notices(config, *session, data)) logbook.note("notice: " + n);
  for (const std::string& n : bucket_lines(data, config)) logbook.note(n);
  for (const std::string& n : cached) logbook.note(n);
  const TrainedCount count = count_trained(*session, config);
  logbook.note(fmt::format("{} · {} · {}: {:.2f} M parameters, {:.2f} M trained; {} samples, {} a step, {} steps{}", session->model->id(),
                           session->task->id(), session->loss->id(), static_cast<double>(count.parameters) / 1e6,
                           static_cast<double>(count.trained) / 1e6, dataset.rows.size(), plan.per_step(), max_steps,
                           state.step ? fmt::format(", going on from step {}", state.step) : ""));
  if (std::string n = adapter_summary(*session, config.lora); !n.empty()) logbook.note(n);
  if (std::string n = rates_text(*session, config); !n.empty()) logbook.note(n);

  if (!kept.empty()) logbook.note(kept);
  if (std::string n = lower_precision_text(*session, {"text_encoder", "vae", "denoiser"}); !n.empty()) logbook.note(n);
  if (std::string n = packed_text(*session); !n.empty()) logbook.note(n);

  BadSamples bad_samples(config, dataset, *group, state.step > 0);
  if (std::string n = bad_samples.summary(); !n.empty()) logbook.note("notice: " + n);

  observers.begin(logbook, data_summary(data, plan.per_step()));

  // Train.
  Encoder encoder(*session->model, *session->task, session->device, !trained_text_encoders(config).empty(),
                  null_text_is_zero(*session->model, config.train));
  if (cache) read_from_cache(*cache, config, data, encoder);
  Loader loader(dataset, data.loader);
  BatchSource batches(dataset, loader, encoder, plan, session->device);
  std::unique_ptr<Reducer> reducer;
  if (group->world() > 1) reducer = make_reducer(*group, *state.weights);
  std::unique_ptr<FusedBackward> fused;
  const std::vector<const Parameter*> watched = watched_parameters(*state.weights, session->model->about());
  if (config.optimizer.fused_backward) fused = std::make_unique<FusedBackward>(*state.weights, state.optimizer, watched);
  StepContext context{*session->model, *session->task, *session->loss, *group, config.train, config.optimizer, compute, reducer.get(),
                      watched, fused.get()};
  LoopHooks hooks;
  std::string swapped;  // known after the first forward pass
  hooks.report = [&] {
    bad_samples.collect(loader, logbook), observers.listen();
    if (swapped.empty() && state.weights->swap && !(swapped = state.weights->swap->summary()).empty()) logbook.note(swapped);
  };
  hooks.save = [&] {
    bad_samples.share(logbook);
    counts.nan_skips = logbook.nan_skips();
    if (group->is_first()) {
      Committed done = save_state(state, config.output, state_record(*session, config, dataset, counts),
                                  static_cast<int>(config.checkpoint.keep));
      for (const Error& e : done.notices) logbook.note("notice: " + to_string(e));
      observers.refresh();
    }
    group->barrier("checkpoint");
  };
  hooks.validate = [&] {
    if (group->is_first()) draw_validation_pictures(*session, config, state, logbook), observers.refresh();
    group->barrier("validation pictures");
  };
  Exit result = observers.watch(
      [&] { return train_loop(config, context, state, counts.samples_seen, batches, logbook, {max_steps, rows, plan}, hooks); });

  // Leave a folder behind. The others need not wait for it.
  std::vector<std::string> peaks = group->gather_text(peak_memory_text(session->device), "peak memory");
  for (const std::string& n : loader.notices()) logbook.note("notice: " + n);
  if (std::string n = bad_samples.summary(); !n.empty()) logbook.note("notice: " + n);
  if (result == Exit::done && group->is_first()) {
    std::string folder = (std::filesystem::path(config.output) / "final").string();
    if (std::string n = write_final_folder(*session, config, state, folder); !n.empty()) logbook.note("notice: " + n);
    logbook.note("done: " + folder);
  }
  const std::optional<Error> not_uploaded = observers.finish(result, {session->folder.root.string(), state.step, reads_pictures(*session)});
  peaks[0] = peak_memory_text(session->device);  // writing it took memory, too
  tell_peak_memory(peaks, logbook);
  if (not_uploaded) logbook.note(to_string(*not_uploaded));
  return static_cast<int>(not_uploaded ? not_uploaded->exit : result);
}

}  // namespace t2i
