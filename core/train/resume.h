// Going on where an earlier attempt left off, or starting: the output folder decides.
#pragma once
#include "core/commands.h"
#include "core/data/dataset.h"
#include "core/dist/group.h"
#include "core/session.h"
#include "core/train/step.h"

namespace t2i {

// What a run has counted so far, beside its steps.
struct RunCounts {
  int64_t samples_seen = 0;
  int64_t nan_skips = 0;  // steps that were left out: train.max_nan_skips is of a run, not of an attempt
  std::vector<std::string> notices;  // what was told while it was found
};

// Restores `state` from the newest whole checkpoint of the output folder and returns what the run had counted by then
// (zeros for a fresh run). Writes config.yaml. Failure E1030 lists changed settings that would change what is trained,
// unless allowed one by one; E4131 when the data is no longer the same.
RunCounts resume(const RunOptions& options, const Session& session, const Dataset& dataset, Group& group,
                 TrainState& state);

// What a checkpoint's manifest says beside the weights.
Json state_record(const Session& session, const Config& config, const Dataset& dataset, RunCounts counts);

}  // namespace t2i
