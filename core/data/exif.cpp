#include "core/data/exif.h"

#include <cstdint>
#include <cstring>

namespace t2i {
namespace {

// EXIF is a TIFF: numbers in the byte order of its header, every read checked against the end.
struct Tiff {
  std::span<const std::byte> bytes;
  bool little = true;

  bool has(uint64_t at, uint64_t count) const { return at <= bytes.size() && count <= bytes.size() - at; }
  uint32_t number(uint64_t at, int size) const {  // 0 beyond the end
    if (!has(at, static_cast<uint64_t>(size))) return 0;
    uint32_t value = 0;
    for (int i = 0; i < size; ++i) {
      auto byte = static_cast<uint32_t>(bytes[at + static_cast<uint64_t>(little ? size - 1 - i : i)]);
      value = value << 8 | byte;
    }
    return value;
  }
};

constexpr uint32_t orientation_tag = 0x0112;

}  // namespace

int exif_orientation(std::span<const std::byte> exif) {
  while (exif.size() >= 6 && std::memcmp(exif.data(), "Exif\0\0", 6) == 0) exif = exif.subspan(6);
  if (exif.size() < 8) return 0;
  Tiff tiff{exif, true};
  if (std::memcmp(exif.data(), "MM", 2) == 0) tiff.little = false;
  else if (std::memcmp(exif.data(), "II", 2) != 0) return 0;
  if (tiff.number(2, 2) != 42) return 0;
  uint64_t directory = tiff.number(4, 4);
  uint32_t entries = tiff.number(directory, 2);
  for (uint64_t i = 0; i < entries; ++i) {
    uint64_t entry = directory + 2 + i * 12;
    if (!tiff.has(entry, 12)) return 0;
    if (tiff.number(entry, 2) != orientation_tag || tiff.number(entry + 4, 4) != 1) continue;
    uint32_t type = tiff.number(entry + 2, 2);  // 1 byte, 3 short, 4 long: all are found in the wild
    int size = type == 1 ? 1 : type == 3 ? 2 : type == 4 ? 4 : 0;
    uint32_t value = size ? tiff.number(entry + 8, size) : 0;
    return value <= 8 ? static_cast<int>(value) : 0;
  }
  return 0;
}

int xmp_orientation(std::string_view xmp) {
  constexpr std::string_view name = "tiff:Orientation";
  for (size_t at = xmp.find(name); at != xmp.npos; at = xmp.find(name, at + 1)) {
    std::string_view rest = xmp.substr(at + name.size(), 3);
    size_t digit = rest.starts_with("=\"") ? 2 : rest.starts_with(">") ? 1 : 0;
    if (digit && digit < rest.size() && rest[digit] >= '0' && rest[digit] <= '9') return rest[digit] - '0';
  }
  return 0;
}

}  // namespace t2i
