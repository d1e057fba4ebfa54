// An entry of a cache: what was encoded, of what, and where it lies. A line of a segment's index (docs/cache.md).
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/json.h"

namespace t2i {

struct CacheEntry {
  std::string key;      // 32 hexadecimal digits: all that the tensors depend on
  std::string kind;     // "latents", "text"
  std::string source;   // the picture's path in the data; of a text the row where it was first met
  std::string text;     // of a text: itself
  std::string encoder;  // 32 hexadecimal digits: what encoded it, and how
  Json about;           // of a picture: its content's hash, sizes, crop, flip; for people
  int64_t made = 0;     // seconds since 1970

  uint64_t offset = 0, bytes = 0;  // of its tensors in the segment's data, in the form of a .safetensors file
  std::string hash;                // XXH3-128 of these bytes
};

// One line, its newline included: a JSON object, a tab, and 16 digits of the object's own hash, by which a line that was
// cut or damaged is told.
std::string to_line(const CacheEntry& entry);
// `line` without its newline. Nothing where it is not whole.
std::optional<CacheEntry> entry_of_line(std::string_view line);

}  // namespace t2i
