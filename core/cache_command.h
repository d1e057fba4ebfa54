// `t2i cache`: what a run's pictures and texts are encoded to, built beforehand, listed, checked and taken away.
#pragma once
#include "core/commands.h"

namespace t2i {

int cache_command(const CacheOptions& options);

}  // namespace t2i
