// How much memory a run will take, by what takes it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/plan/data_plan.h"
#include "core/plan/rehearsal.h"

namespace t2i {

struct MemoryShare {
  std::string what;
  uint64_t bytes = 0;
};

struct MemoryPlan {
  std::vector<MemoryShare> shares;  // they add up to `all`
  uint64_t all = 0;                 // on a CPU what will be resident, on a GPU what will be allocated there
  uint64_t needed = 0;              // the same, and what the device takes besides
  Rehearsal rehearsal;
  std::string blocks;  // which are computed again, in words
};

struct MemoryQuestion {
  std::vector<std::string> plugin_paths;
  bool gpu = false;
  int64_t processes = 1;
};

// Rehearses the run. `program_bytes`: what is resident of a process that has loaded everything but weights.
MemoryPlan plan_memory(const Config& config, const RunData& data, const DataPlan& seen, const MemoryQuestion& question, uint64_t program_bytes);

// What this machine has, or its GPU: the limit of its control group counts.
uint64_t memory_there(bool gpu);

}  // namespace t2i
