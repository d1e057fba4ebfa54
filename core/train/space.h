// Is there room for what the run will leave behind? Asked before the first step, not found out at the last.
#pragma once
#include "core/session.h"
#include "core/train/step.h"

namespace t2i {

// Failure E4101 when the checkpoints that will be there at once and final/ need more than is free. Pictures, logs and
// metrics are not counted.
void require_space(const Config& config, const Session& session, const TrainState& state, int64_t max_steps);

}  // namespace t2i
