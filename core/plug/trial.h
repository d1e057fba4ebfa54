// Loads a library that nobody may have tried before.
#pragma once
#include "core/plug/library.h"

namespace t2i {

// As load_plugin, but in a child process first, so that a library that crashes, ends the process or hangs when it is
// loaded and started is a sentence (E2065) and not the end of a run. Those beside the engine are known and spared that.
Result<LoadedPlugin> try_plugin(const std::filesystem::path& file, const t2i_host* host);

// Where the built-in plugins lie: t2i/ beside the engine.
std::filesystem::path built_in_plugins();

}  // namespace t2i
