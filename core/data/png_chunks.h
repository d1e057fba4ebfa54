// A PNG's chunks without libpng: 12 bytes of frame around each, walked with every length checked.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace t2i {

struct PngChunk {
  std::string_view type;  // four letters
  std::string_view data;
};

// Calls `visit(chunk)` for each whole chunk in order, until it returns false or the bytes end. Checksums are not read.
template <class Visit>
void walk_png(std::span<const std::byte> file, Visit visit) {
  auto text = reinterpret_cast<const char*>(file.data());
  auto big_endian = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(text[at + i]);
    return value;
  };
  size_t at = 8;  // the signature
  while (at + 12 <= file.size()) {
    uint32_t size = big_endian(at);
    if (size > file.size() - at - 12) return;
    if (!visit(PngChunk{{text + at + 4, 4}, {text + at + 8, size}})) return;
    at += 12 + size_t{size};
  }
}

struct PngTextEntry {
  std::string keyword;
  std::string text;  // UTF-8
};

// The entry in a tEXt, zTXt or iTXt chunk; nothing for another chunk, a broken one, or text beyond max_bytes.
std::optional<PngTextEntry> png_text_of(const PngChunk& chunk, size_t max_bytes);

// The size in the IHDR chunk, which every PNG begins with.
struct PngSize {
  uint32_t width = 0, height = 0;
};
std::optional<PngSize> png_size_of(std::span<const std::byte> file);

}  // namespace t2i
