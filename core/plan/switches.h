// What can be switched so that a run takes less memory: one table, tried from top to bottom.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/config/config.h"

namespace t2i {

struct Switch {
  std::string text;  // "train.gradient_checkpointing: true"
  Config config;     // the configuration with it
};

// Those that this configuration has not taken and this build knows; some save memory of a GPU alone. The first change only how a step is computed, later
// ones what is trained.
std::vector<Switch> memory_switches(const Config& config, bool gpu = false);

}  // namespace t2i
