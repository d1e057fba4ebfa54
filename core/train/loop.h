// Steps until the run is done or asked to stop: what to do between steps, and when.
#pragma once
#include <functional>

#include "core/base/error.h"
#include "core/train/batch_source.h"
#include "core/train/logbook.h"
#include "core/train/step.h"

namespace t2i {

struct LoopHooks {
  std::function<void()> save;      // commits a checkpoint of the state as it is
  std::function<void()> validate;  // draws the validation pictures
  std::function<void()> report;    // tells what came up in the data
};

struct LoopPlan {
  int64_t max_steps = 0;
  int64_t dataset_rows = 0;
  BatchPlan batches;
};

// Continues from state.step. `samples_seen` is kept up to date. Returns done, or preempted after saving.
Exit train_loop(const Config& config, StepContext& context, TrainState& state, int64_t& samples_seen, BatchSource& batches,
                Logbook& logbook, const LoopPlan& plan, const LoopHooks& hooks);

}  // namespace t2i
