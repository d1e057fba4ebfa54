// `t2i plugins list | info ID | check FILE.so`.
#pragma once
#include "core/commands.h"

namespace t2i {

// list and info: Exit::done. check: the number of rules that were broken. Failure for what is not there.
int plugins_command(const PluginsOptions& options);

}  // namespace t2i
