// `t2i probe`: one piece on tensors from a file, the parity instrument for us and for plugin authors.
#pragma once
#include "core/commands.h"

namespace t2i {

int probe_command(const ProbeOptions& options);

}  // namespace t2i
