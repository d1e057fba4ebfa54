// Is there room for what the run will leave behind? Asked before the first step, not found out at the last.
#pragma once
#include "core/session.h"
#include "core/train/step.h"

namespace t2i {

struct SpaceNeeded {
  int64_t checkpoints = 0;  // more of them, that will be there at once
  uint64_t each = 0, final_folder = 0;
  uint64_t all = 0;  // at most at one time
};
SpaceNeeded space_needed(const Config& config, const Session& session, const TrainState& state, int64_t max_steps);

// Failure E4101 when the checkpoints that will be there at once and final/ need more than is free. Pictures, logs and
// metrics are not counted.
void require_space(const Config& config, const Session& session, const TrainState& state, int64_t max_steps);

}  // namespace t2i
