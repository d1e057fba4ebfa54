// What a run leaves behind: a complete pipeline folder that diffusers opens, or an adapter (adapter_folder.h).
#pragma once
#include <string>

#include "core/session.h"
#include "core/train/step.h"

namespace t2i {

// Writes `folder` with the trained part's weights (the average where there is one), its configuration as trained, the
// scheduler as the loss wants it, every other part as it was read (part_files.h), and training.json, which says of
// which step it is. A part that the source lacks, or has as a pickle only, is [null, null] in model_index.json. It has
// its name only when it is whole. Throws Failure E4101/E4102.
//
// What bears the name already is never lost: whole and of this step it is left as it is, else it is renamed to
// FOLDER-STEP (FOLDER-earlier where it does not tell its step). Returns a line for the person where one of these was
// so.
std::string write_final_folder(const Session& session, const Config& config, const TrainState& state, const std::string& folder);

// What it takes on the disk, about.
uint64_t final_bytes(const Session& session, const Config& config, const TrainState& state);

}  // namespace t2i
