// PNG files out: 8-bit RGB with text entries (image tools read "parameters"), and those entries read back.
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"

namespace t2i {

using PngText = std::vector<std::pair<std::string, std::string>>;  // keyword (1–79 Latin letters), UTF-8 text

// The file's bytes. ASCII text is stored as tEXt, any other as iTXt; neither is compressed. Throws Failure E3014 for a
// keyword that PNG does not allow or sizes that do not fit the pixels.
std::vector<uint8_t> encode_png(int width, int height, std::span<const uint8_t> rgb, const PngText& text = {});

// Writes it whole or not at all: a temporary file beside it, synced, then renamed. Throws Failure as encode_png, and as
// core/base/file.h does where the disk is full or fails.
void write_png(const std::string& path, int width, int height, std::span<const uint8_t> rgb, const PngText& text = {});

// The text entries of a PNG (tEXt, zTXt, iTXt), by keyword; the first of equal ones. E3001/E3002/E3008/E3010.
Result<std::map<std::string, std::string>> read_png_text(const std::string& path);

}  // namespace t2i
