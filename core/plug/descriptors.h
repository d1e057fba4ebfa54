// What finding and opening a plugin needs of a core, which is no tensors: bin/t2i reads descriptors with these alone
// (catalog.h), the engine goes on from there (library.h). search_path.cpp finds, library.cpp opens.
#pragma once
#include <filesystem>
#include <vector>

#include "core/plug/library.h"

namespace t2i {

// The plugin libraries in these places, real paths in search order; of two that are the same plugin the first counts.
// What is none, or is the second, is added to `refused`.
std::vector<std::filesystem::path> find_plugins(const std::vector<std::filesystem::path>& search, std::vector<Error>& refused);

// Permissions, tag, dlopen, descriptor, required functions. Nothing of it has been started. `real`: its canonical path.
Result<const t2i_plugin*> open_plugin(const std::filesystem::path& real, const t2i_host& host);
std::vector<Component> components_of(const t2i_plugin& plugin, const std::filesystem::path& real);

}  // namespace t2i
