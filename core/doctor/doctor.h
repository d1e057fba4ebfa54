// Is this machine fit for t2i? A line a check: ok, a warning, or a failure, with what to do about it.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/doctor/machine.h"

namespace t2i {

struct Finding {
  enum State { ok, warn, fail };
  std::string check;  // "driver", "shared memory"
  State state = ok;
  std::string text, fix;  // what is so; what to do, empty where it is well
};
using Findings = std::vector<Finding>;

// All checks. A failure is what a run would end with; a warning is what makes it slower, or may end it later.
Findings examine(const Machine& machine);

// Groups of them, in that order, each in a file of its own.
void check_processor(const Machine& machine, Findings& findings);  // cores, quota, instructions
void check_memory(const Machine& machine, Findings& findings);     // with the limits of control groups
void check_gpus(const Machine& machine, Findings& findings);       // driver, GPUs, LibTorch, CUDA, NCCL
void check_storage(const Machine& machine, Findings& findings);    // disk, shared memory, hub cache, limits of files
void check_plugins(const Machine& machine, Findings& findings);
void check_network(const Machine& machine, Findings& findings);    // launcher, interfaces, the host's name
void check_terminal(const Machine& machine, Findings& findings);

// A line a check, aligned; `colour` for terminals.
std::string to_text(const Findings& findings, bool colour);
// {"worst": "warn", "checks": [{"check", "state", "text", "fix"}]}
nlohmann::ordered_json to_json(const Findings& findings);

}  // namespace t2i
