// A run without its work (core/base/dry_run.h): the same code loads the parts, encodes a batch, makes steps and draws
// pictures, and what it allocates is counted. So no part of the memory has a formula that could drift from the program.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/config/config.h"
#include "core/model/recompute.h"
#include "core/train/run_data.h"
#include "core/train/space.h"

namespace t2i {

struct RehearsalOptions {
  std::vector<std::string> plugin_paths;
  bool gpu = false;  // as it would be on one
  bool pictures = true;  // those of validation, too
  std::optional<RecomputePlan> recompute = std::nullopt;  // instead of what the configuration says
  int64_t max_steps = 0;                   // of the run: how many checkpoints there will be
};

struct PartHeld {
  std::string part, role, dtype;  // dtype: as held_as() says
  int64_t parameters = 0, trained = 0;
  uint64_t bytes = 0;
};

struct BlockKept {
  std::string name;
  uint64_t bytes = 0;  // that its forward pass left behind, its result included
};

struct Rehearsal {
  std::vector<PartHeld> parts;  // in the order in which they are loaded
  // Held from the first step to the last.
  uint64_t gradients = 0, optimizer = 0, average = 0;
  // At most at once beside what is held, while samples are encoded, in a step, and while pictures are drawn.
  uint64_t encoding = 0, step = 0, pictures = 0;
  std::vector<BlockKept> blocks;  // of one forward pass
  RecomputePlan recompute;        // what they were run with
  uint64_t most = 0;       // all of that together, at most at once
  uint64_t addresses = 0;  // the same with the gaps that an allocator leaves: what a CPU's memory holds
  uint64_t a_picture = 0, a_text = 0;  // what the encoder remembers of each
  SpaceNeeded space;
  std::vector<std::string> computed;  // operations that had to be computed for want of shapes

  uint64_t weights() const {
    uint64_t bytes = 0;
    for (const PartHeld& p : parts) bytes += p.bytes;
    return bytes;
  }
  uint64_t held() const { return weights() + gradients + optimizer + average; }
};

// Samples are the first rows of `data`, without their pixels.
Rehearsal rehearse(const Config& config, const RunData& data, const RehearsalOptions& options);

}  // namespace t2i
