// Everything a bit-exact resume needs, as one safetensors file and one JSON object inside a checkpoint.
#pragma once
#include <functional>
#include <string>

#include "core/base/json.h"
#include "core/checkpoint/commit.h"
#include "core/train/step.h"

namespace t2i {

// Writes checkpoint-STEP into `output` and prunes older ones beyond `keep`. `about`: config, hashes, versions,
// samples_seen. Waits for the device; the caller's buffers are only read.
Committed save_state(const TrainState& state, const std::string& output, const Json& about, int keep);

// What one checkpoint takes on the disk, a little more than less.
uint64_t saved_bytes(const TrainState& state);

// Fills the buffers of `state` (already allocated for the same model) from a verified checkpoint. Failure E4130 when
// its tensors are not this model's.
void restore_state(TrainState& state, const Checkpoint& checkpoint);

// A parameter's part of a buffer that is laid out as the trained weights, or as the frozen ones.
at::Tensor view_of(const at::Tensor& flat, const Parameter& parameter);

}  // namespace t2i
