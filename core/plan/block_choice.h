// train.activation_memory_gb: which blocks are run again in backward, chosen before the first step so that a step's
// activations stay within a budget and as few blocks as possible are run twice.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/plan/rehearsal.h"

namespace t2i {

struct BlockChoice {
  RecomputePlan plan;
  int64_t blocks = 0, again = 0;  // of one forward pass, and how many of them are run twice
  uint64_t bytes = 0;             // a step's activations with it
};

// Failure E7251 where even running every block again takes more than the budget.
BlockChoice choose_blocks(const Config& config, const RunData& data, RehearsalOptions options);

// "9 of 24 blocks are computed again in backward: activations take 3.9 of 4.0 GB".
std::string to_text(const BlockChoice& choice, const Config& config);

// The `count` blocks that save most when they are run again, marked.
std::vector<bool> most_saving(const std::vector<int64_t>& savings, size_t count);

}  // namespace t2i
