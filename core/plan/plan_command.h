// `t2i plan`: what a run will take and do, before it does it.
#pragma once
#include "core/commands.h"

namespace t2i {

// Exit code 78 (E7250) where the run needs more memory than there is; it then says which single setting makes it fit.
int plan_command(const PlanOptions& options);

}  // namespace t2i
