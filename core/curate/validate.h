// `t2i validate`: everything that is wrong with a data set, in one pass.
#pragma once
#include "core/commands.h"

namespace t2i {

// Prints the report. Failure E2130 where there is a problem, E2131 where no row can be used.
int validate_command(const ValidateOptions& options);

}  // namespace t2i
