#include "core/data/picture_size.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "core/data/exif.h"
#include "core/data/png_chunks.h"

namespace t2i {
namespace {

using FileBytes = std::span<const std::byte>;

bool begins(FileBytes file, std::string_view magic, size_t at = 0) {
  return file.size() >= at + magic.size() && std::memcmp(file.data() + at, magic.data(), magic.size()) == 0;
}

uint32_t byte_at(FileBytes file, size_t at) { return std::to_integer<uint32_t>(file[at]); }
uint32_t big_endian_16(FileBytes file, size_t at) { return byte_at(file, at) << 8 | byte_at(file, at + 1); }
uint32_t little_endian(FileBytes file, size_t at, size_t bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < bytes; ++i) value |= byte_at(file, at + i) << (8 * i);
  return value;
}

PictureSize turned(PictureSize size, int orientation) {
  if (orientation >= 5 && orientation <= 8) std::swap(size.width, size.height);
  return size;
}

// ITU-T T.81, annex B: segments of a marker and a length, up to the frame's header.
std::optional<PictureSize> jpeg_size(FileBytes file) {
  int orientation = 0;
  for (size_t at = 2; at + 4 <= file.size();) {
    if (byte_at(file, at) != 0xff) return std::nullopt;
    const uint32_t marker = byte_at(file, at + 1);
    if (marker == 0xff) {  // padding
      ++at;
      continue;
    }
    const size_t length = big_endian_16(file, at + 2);
    const bool frame = marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
    if (frame) {
      if (at + 9 > file.size()) return std::nullopt;
      return turned({big_endian_16(file, at + 7), big_endian_16(file, at + 5)}, orientation);
    }
    if (length < 2) return std::nullopt;
    if (marker == 0xe1 && begins(file, std::string_view("Exif\0\0", 6), at + 4) && at + 2 + length <= file.size())
      if (int found = exif_orientation(file.subspan(at + 4, length - 2)); found && !orientation) orientation = found;
    at += 2 + length;
  }
  return std::nullopt;
}

// RFC 9649: the first chunk says it, in one of three ways.
std::optional<PictureSize> webp_size(FileBytes file) {
  if (file.size() < 30) return std::nullopt;
  if (begins(file, "VP8X", 12)) return PictureSize{little_endian(file, 24, 3) + 1, little_endian(file, 27, 3) + 1};
  if (begins(file, "VP8 ", 12)) return PictureSize{little_endian(file, 26, 2) & 0x3fff, little_endian(file, 28, 2) & 0x3fff};
  if (!begins(file, "VP8L", 12)) return std::nullopt;
  const uint32_t bits = little_endian(file, 21, 4);
  return PictureSize{(bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1};
}

std::optional<PictureSize> png_size(FileBytes file) {
  std::optional<PngSize> size = png_size_of(file);
  if (!size) return std::nullopt;
  int orientation = 0;
  walk_png(file, [&](const PngChunk& chunk) {
    if (chunk.type == "eXIf") orientation = exif_orientation(std::as_bytes(std::span(chunk.data)));
    return chunk.type != "IDAT";
  });
  return turned({size->width, size->height}, orientation);
}

}  // namespace

std::optional<PictureSize> picture_size(FileBytes begin) {
  std::optional<PictureSize> size;
  if (begins(begin, "\xff\xd8\xff")) size = jpeg_size(begin);
  else if (begins(begin, "\x89PNG\r\n\x1a\n")) size = png_size(begin);
  else if (begins(begin, "RIFF") && begins(begin, "WEBP", 8)) size = webp_size(begin);
  return size && size->width && size->height ? size : std::nullopt;
}

std::optional<PictureSize> picture_size(const OpenedFile& file) {
  // Nearly always enough; a large colour profile or thumbnail before a JPEG's frame takes more.
  for (uint64_t wanted = uint64_t{1} << 14; wanted <= uint64_t{1} << 24; wanted *= 32) {
    std::vector<std::byte> begin(static_cast<size_t>(std::min(wanted, file.bytes)));
    const ssize_t got = pread(file.fd.get(), begin.data(), begin.size(), 0);
    if (got <= 0) return std::nullopt;
    begin.resize(static_cast<size_t>(got));
    if (auto size = picture_size(begin); size || wanted >= file.bytes) return size;
  }
  return std::nullopt;
}

}  // namespace t2i
