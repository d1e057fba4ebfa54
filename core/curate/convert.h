// `t2i convert`: a data set in another layout, its pictures as they are, byte for byte.
#pragma once
#include "core/commands.h"

namespace t2i {

// Writes options.output and prints what it is. Failure as of open_dataset, E2132, E2136, E2140 to E2142, and of writing.
int convert_command(const ConvertOptions& options);

}  // namespace t2i
