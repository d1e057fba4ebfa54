// `t2i run`: the life of a run, from folder and data to final/.
#pragma once
#include "core/commands.h"

namespace t2i {

int run_command(const RunOptions& options);

}  // namespace t2i
