// The tag of a plugin: what it says of itself in its ELF section .t2i_tag, read before the library is loaded, so that a
// library built for another core is refused with a sentence instead of a mangled symbol name.
//
//   "T2I-PLUGIN abi=0.2 torch=any id=org.example.huber"
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "core/base/error.h"

namespace t2i {

struct PluginTag {
  uint32_t abi_major = 0, abi_minor = 0;
  std::string torch;  // "any": stable tier; else the exact LibTorch it was built for
  std::string id;
};

// Errors: E2053 (no shared library of this platform), E2054 (no tag, or one that cannot be read). Runs no code of it.
Result<PluginTag> read_plugin_tag(const std::filesystem::path& file);

// The text alone; `where` stands for the file in messages. Unknown words after the known ones are left to newer cores.
Result<PluginTag> parse_plugin_tag(std::string_view text, const std::string& where);

}  // namespace t2i
