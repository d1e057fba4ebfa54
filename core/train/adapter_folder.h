// What a run leaves behind that trained an adapter: the adapter in the forms that were asked for, beside it the layers that
// were trained in full, and adapter.json.
#pragma once
#include "core/checkpoint/safetensors.h"
#include "core/config/config.h"
#include "core/session.h"
#include "core/train/step.h"

namespace t2i {

// Fills the folder (final_folder.h puts it in its place). Every file is read again as the programs it is for read it, and
// what it does to each layer compared with what was trained: E7120 where that differs. Failure E4101/E4102 of the disk.
void write_adapter_files(const Session& session, const Config& config, const TrainState& state, const Path& folder);

// What they take on the disk, about.
uint64_t adapter_bytes(const Config& config, const TrainState& state);

}  // namespace t2i
