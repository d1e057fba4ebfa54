#include "core/data/png_chunks.h"

#include <zlib.h>

#include <algorithm>

namespace t2i {
namespace {

// At most max_bytes of inflated text: a bomb costs no more than that.
std::optional<std::string> inflated(std::string_view deflated, size_t max_bytes) {
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) return std::nullopt;
  std::string out;
  char block[16384];
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(deflated.data()));
  stream.avail_in = static_cast<uInt>(deflated.size());
  int status = Z_OK;
  while (status == Z_OK && out.size() <= max_bytes) {
    stream.next_out = reinterpret_cast<Bytef*>(block);
    stream.avail_out = sizeof block;
    status = inflate(&stream, Z_NO_FLUSH);
    out.append(block, sizeof block - stream.avail_out);
  }
  inflateEnd(&stream);
  if (status != Z_STREAM_END || out.size() > max_bytes) return std::nullopt;
  return out;
}

std::string utf8_of_latin1(std::string_view latin1) {
  std::string out;
  for (char c : latin1) {
    auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) out += c;
    else out += {static_cast<char>(0xc0 | byte >> 6), static_cast<char>(0x80 | (byte & 0x3f))};
  }
  return out;
}

// The part before the next NUL, taken off the front of `rest`; nothing if there is no NUL.
std::optional<std::string_view> up_to_nul(std::string_view& rest) {
  size_t nul = rest.find('\0');
  if (nul == rest.npos) return std::nullopt;
  std::string_view part = rest.substr(0, nul);
  rest.remove_prefix(nul + 1);
  return part;
}

}  // namespace

std::optional<PngTextEntry> png_text_of(const PngChunk& chunk, size_t max_bytes) {
  bool plain = chunk.type == "tEXt", compressed = chunk.type == "zTXt", international = chunk.type == "iTXt";
  if (!plain && !compressed && !international) return std::nullopt;
  std::string_view rest = chunk.data;
  auto keyword = up_to_nul(rest);
  if (!keyword) return std::nullopt;
  if (international) {
    if (rest.size() < 2) return std::nullopt;
    compressed = rest[0] == 1;
    rest.remove_prefix(2);                                          // flag, method
    if (!up_to_nul(rest) || !up_to_nul(rest)) return std::nullopt;  // language, translated keyword
  } else if (compressed) {
    if (rest.empty()) return std::nullopt;
    rest.remove_prefix(1);  // method
  }
  std::string text;
  if (compressed) {
    auto whole = inflated(rest, max_bytes);
    if (!whole) return std::nullopt;
    text = std::move(*whole);
  } else if (rest.size() <= max_bytes) text = rest;
  else return std::nullopt;
  return PngTextEntry{utf8_of_latin1(*keyword), international ? text : utf8_of_latin1(text)};
}

std::optional<PngSize> png_size_of(std::span<const std::byte> file) {
  std::optional<PngSize> size;
  walk_png(file, [&](const PngChunk& chunk) {
    if (chunk.type != "IHDR" || chunk.data.size() != 13) return false;
    auto number = [&](size_t at) {
      uint32_t value = 0;
      for (char c : chunk.data.substr(at, 4)) value = value << 8 | static_cast<unsigned char>(c);
      return value;
    };
    size = PngSize{number(0), number(4)};
    return false;
  });
  return size;
}

}  // namespace t2i
