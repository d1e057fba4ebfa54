// PNG files out: 8-bit RGB with text entries (image tools read "parameters"), and those entries read back.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"

namespace t2i {

using PngText = std::vector<std::pair<std::string, std::string>>;  // keyword (1–79 Latin letters), UTF-8 text

// The file's bytes. ASCII text is stored as tEXt, any other as iTXt; neither is compressed.
std::vector<uint8_t> encode_png(int width, int height, std::span<const uint8_t> rgb, const PngText& text = {});

// Writes it whole or not at all: a temporary file beside it, synced, then renamed. Nothing on success, else E3014.
std::optional<Error> write_png(const std::string& path, int width, int height, std::span<const uint8_t> rgb,
                               const PngText& text = {});

// The text entries of a PNG (tEXt, zTXt, iTXt), by keyword; the first of equal ones. E3001/E3002/E3008/E3010.
Result<std::map<std::string, std::string>> read_png_text(const std::string& path);

}  // namespace t2i
