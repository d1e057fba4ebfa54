// Who am I among the processes of this run, read from the environment that the launcher set.
#pragma once
#include <functional>
#include <optional>
#include <string>

#include "core/base/error.h"

namespace t2i {

struct Launch {
  std::string launcher = "none";  // "torchrun", "slurm", "openmpi", "environment", "none"
  int rank = 0, world = 1, local_rank = 0, local_world = 1;
  std::string master_address;
  int master_port = 0;
  bool agent_store = false;  // the launcher serves the store: rank 0 must not start one
  int restart = 0;           // the elastic restart count: keeps the store's keys of each attempt apart
};

// `environment` maps a variable to its value (getenv in the program, a map in tests).
Result<Launch> launch_from(const std::function<std::optional<std::string>(const char*)>& environment);
Result<Launch> launch_from_environment();

}  // namespace t2i
