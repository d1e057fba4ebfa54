// What a run leaves behind: a complete pipeline folder that diffusers opens.
#pragma once
#include <string>

#include "core/session.h"
#include "core/train/step.h"

namespace t2i {

// Writes `folder` (replacing one left by an earlier attempt) with the trained part's weights (the average where there is
// one), its configuration as trained, the scheduler as the loss wants it, and every other part as it was.
void write_final_folder(const Session& session, const TrainState& state, const std::string& folder);

}  // namespace t2i
