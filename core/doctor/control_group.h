// What the control groups that this process is in (a container's, a SLURM step's, a service's) leave to it.
#pragma once
#include <cstdint>

#include "core/doctor/machine.h"

namespace t2i {

// The lowest memory limit from the process's own group up to the top, in bytes; 0: none. Version 2 and version 1.
uint64_t memory_limit(const Machine& machine);

// Processors by its time quota; 0: as many as there are.
double processor_quota(const Machine& machine);

}  // namespace t2i
