// What a run leaves behind: a complete pipeline folder that diffusers opens.
#pragma once
#include <string>

#include "core/session.h"
#include "core/train/step.h"

namespace t2i {

// Writes `folder` (replacing one left by an earlier attempt) with the trained part's weights (the average where there
// is one), its configuration as trained, the scheduler as the loss wants it, and every other part as it was. It has its
// name only when it is whole. Throws Failure E4101/E4102.
void write_final_folder(const Session& session, const TrainState& state, const std::string& folder);

// What it takes on the disk, about.
uint64_t final_bytes(const Session& session, const TrainState& state);

}  // namespace t2i
