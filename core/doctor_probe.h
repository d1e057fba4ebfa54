// What the engine tells the doctor of itself. Called in a process of its own, because loading a GPU's half can hang.
#pragma once
#include "core/commands.h"

namespace t2i {

int doctor_command(const DoctorOptions& options);

}  // namespace t2i
