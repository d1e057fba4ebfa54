#pragma once
#include "core/base/file.h"

namespace t2i {

// Where hf download puts models, as its environment variables say.
Path hub_cache();

}  // namespace t2i
