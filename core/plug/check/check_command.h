// `t2i plugins check FILE.so`.
#pragma once
#include "core/commands.h"

namespace t2i {

// Runs the checks that --only names, each in a process of its own unless asked otherwise, and prints what they found: a
// line each, or one JSON object. The number of rules that were broken. Failure E2052 (no such file), E2064 (no such
// check).
int check_command(const PluginsOptions& options);

}  // namespace t2i
