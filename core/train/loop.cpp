#include "core/train/loop.h"

#include <fmt/format.h>

#include <chrono>

#include "core/base/kill_point.h"
#include "core/base/lr_schedule.h"
#include "core/config/optimizer_check.h"
#include "core/config/rates.h"
#include "core/train/stop_signal.h"

namespace t2i {

static double now_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

static LrSchedule schedule_of(const Config& config, int64_t max_steps) {
  const OptimizerConfig& o = config.optimizer;
  LrSchedule s{o.lr_scheduler, o.lr_warmup_steps, max_steps, 1, o.lr_power, leading_rate(config)};
  if (o.lr_num_cycles > 0) s.cycles = static_cast<int64_t>(o.lr_num_cycles);
  return s;
}

// Has any process been asked to stop? With several, all must leave after the same step, so they ask each other.
static bool asked_to_stop(Group& group) { return group.sum_on_hosts(stop_signal() ? 1 : 0, "stop signals") > 0; }

static std::string stopped_by(const std::string& where) {
  std::string who = stop_signal() ? fmt::format("stopped by signal {}", stop_signal()) : "stopped with another process";
  return fmt::format("{} {}; the same command goes on from here", who, where);
}

Exit train_loop(const Config& config, StepContext& context, TrainState& state, int64_t& samples_seen, BatchSource& batches,
                Logbook& logbook, const LoopPlan& plan, const LoopHooks& hooks) {
  const int64_t log_every = std::max<int64_t>(config.train.log_every_steps, 1);
  const bool host_sees_values = state.weights->trained.is_cpu();  // reading costs nothing there, so look at every step
  const LrSchedule schedule = schedule_of(config, plan.max_steps);
  const auto rates = part_rates(config, context.model.denoiser());
  int64_t saved_at = state.step;
  auto due = [](int64_t step, int64_t every) { return every > 0 && step % every == 0; };
  if (state.step == 0 && config.validation.every_steps > 0) {  // the base model, to compare with
    hooks.validate();
    if (asked_to_stop(context.group)) return logbook.note(stopped_by("before the first step")), Exit::preempted;
  }

  batches.start(state.step, samples_seen);
  while (state.step < plan.max_steps) {
    double began = now_seconds(), waited = batches.waited_seconds;
    StepRecord record;
    record.step = state.step + 1;
    auto now = [&](double rate) { return learning_rate_at(config.optimizer, rate, state.step, lr_multiplier(schedule, state.step)); };
    record.learning_rate = now(leading_rate(config));
    for (const auto& [part, rate] : rates) record.part_rates.emplace_back("lr/" + part, now(rate));
    bool logging = record.step % log_every == 0 || record.step == plan.max_steps;
    record.result = train_step(context, state, record.learning_rate, logging, [&](int64_t) {
      Tensors batch = batches.next();
      record.samples.insert(record.samples.end(), batches.last_samples.begin(), batches.last_samples.end());
      return batch;
    });
    samples_seen += plan.batches.per_step();
    record.epoch = static_cast<double>(samples_seen) / static_cast<double>(plan.dataset_rows);
    record.images = plan.batches.per_step();
    record.data_seconds = batches.waited_seconds - waited;
    record.step_seconds = now_seconds() - began;
    logbook.add(std::move(record));
    kill_point("step");

    bool stop = asked_to_stop(context.group);
    hooks.report();
    if (logging || stop || (host_sees_values && context.group.world() == 1)) logbook.flush();
    if (due(state.step, config.checkpoint.every_steps) || stop)
      logbook.flush(), hooks.save(), saved_at = state.step, logbook.saved(state.step);
    if (stop && state.step < plan.max_steps)
      return logbook.note(stopped_by(fmt::format("after step {}", state.step))), Exit::preempted;
    if (due(state.step, config.validation.every_steps)) {
      hooks.validate(), logbook.paused();
      if (state.step < plan.max_steps && asked_to_stop(context.group)) {  // while it drew
        if (saved_at != state.step) hooks.save();
        return logbook.note(stopped_by(fmt::format("after step {}", state.step))), Exit::preempted;
      }
    }
  }
  logbook.flush();
  if (saved_at != state.step) hooks.save();
  return Exit::done;
}

}  // namespace t2i
