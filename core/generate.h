// `t2i generate`: pictures from a model folder, from the command line to the files, on one page.
#pragma once
#include "core/commands.h"

namespace t2i {

// Under a launcher (torchrun and its like) the processes share the pictures out among them. What picture i looks like
// depends on its prompt and seed alone, not on how many processes, or how many pictures at once, there are.
int generate_command(const GenerateOptions& options);

}  // namespace t2i
