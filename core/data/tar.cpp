#include "core/data/tar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>

#include "core/data/limits.h"

namespace t2i {
namespace {

constexpr uint64_t block = 512;
using Header = std::array<char, block>;

// POSIX.1-1988, "ustar": where the fields of a header lie.
struct Field {
  size_t at, size;
};
constexpr Field name_field{0, 100}, size_field{124, 12}, checksum_field{148, 8}, link_field{157, 100}, magic_field{257, 6},
    prefix_field{345, 155};
constexpr size_t type_at = 156;

std::string_view text_of(const Header& header, Field field) {
  std::string_view text(header.data() + field.at, field.size);
  return text.substr(0, text.find('\0'));
}

// Octal digits between spaces and NULs; or, where the first bit is set, a big-endian number (GNU, star).
std::optional<uint64_t> number_of(const Header& header, Field field) {
  std::string_view text(header.data() + field.at, field.size);
  uint64_t value = 0;
  if (static_cast<unsigned char>(text[0]) & 0x80) {
    for (size_t i = 0; i < text.size(); ++i) {
      const auto byte = static_cast<unsigned char>(i ? text[i] : text[i] & 0x7f);
      if (value >> 55) return std::nullopt;
      value = value << 8 | byte;
    }
    return value;
  }
  const size_t first = text.find_first_not_of(' ');
  if (first == text.npos) return 0;
  for (char c : text.substr(first)) {
    if (c == ' ' || c == '\0') break;
    if (c < '0' || c > '7' || value >> 60) return std::nullopt;
    value = value << 3 | static_cast<uint64_t>(c - '0');
  }
  return value;
}

// The sum of all bytes, its own eight counted as spaces. Some old programs added signed ones.
bool checksum_fits(const Header& header) {
  int64_t plain = 0, as_signed = 0;
  for (size_t i = 0; i < header.size(); ++i) {
    const bool own = i >= checksum_field.at && i < checksum_field.at + checksum_field.size;
    const char c = own ? ' ' : header[i];
    plain += static_cast<unsigned char>(c), as_signed += static_cast<signed char>(c);
  }
  auto said = number_of(header, checksum_field);
  return said && (static_cast<int64_t>(*said) == plain || static_cast<int64_t>(*said) == as_signed);
}

bool read_at(int fd, uint64_t at, char* into, size_t bytes) {
  while (bytes > 0) {
    const ssize_t got = ::pread(fd, into, bytes, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    into += got, at += static_cast<uint64_t>(got), bytes -= static_cast<size_t>(got);
  }
  return true;
}

// What a pax header ("27 path=a/long/name.png\n" …) or a GNU long name says of the next member.
struct Extended {
  std::optional<std::string> path, link;
  std::optional<uint64_t> size;
};
bool read_pax(std::string_view records, Extended& extended) {
  while (!records.empty() && records[0] != '\0') {
    size_t length = 0;
    auto [end, error] = std::from_chars(records.data(), records.data() + records.size(), length);
    const auto digits = static_cast<size_t>(end - records.data());
    if (error != std::errc() || length > records.size() || length < digits + 3 || *end != ' ' || records[length - 1] != '\n') return false;
    std::string_view record = records.substr(digits + 1, length - digits - 2);
    const size_t equals = record.find('=');
    if (equals == record.npos) return false;
    const std::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
    if (key == "path") extended.path = std::string(value);
    if (key == "linkpath") extended.link = std::string(value);
    if (key == "size") {
      uint64_t size = 0;
      auto [last, wrong] = std::from_chars(value.data(), value.data() + value.size(), size);
      if (wrong != std::errc() || last != value.data() + value.size()) return false;
      extended.size = size;
    }
    records.remove_prefix(length);
  }
  return true;
}

Error damaged_tar(const std::string& where, std::string what, std::string why = "") {
  return {where, std::move(what), std::move(why), "fetch or pack the file again", "E2133", Exit::bad_data};
}

Error no_tar(const std::string& where, const Header& header) {
  auto begins = [&](std::string_view magic) { return std::memcmp(header.data(), magic.data(), magic.size()) == 0; };
  const char* packed = begins("\x1f\x8b") ? "gzip" : begins("\x28\xb5\x2f\xfd") ? "zstd" : begins("BZh") ? "bzip2" : begins("\xfd""7zXZ") ? "xz" : nullptr;
  if (packed)
    return {where, fmt::format("this tar is compressed with {}", packed), "Pictures are read from where they lie in it", "unpack it to a plain .tar",
            "E2133", Exit::bad_data};
  return damaged_tar(where, "this is no tar: its first block is no header");
}

std::string name_of(const Header& header) {
  std::string name(text_of(header, name_field));
  const bool ustar = std::string_view(header.data() + magic_field.at, 5) == "ustar" && header[magic_field.at + 5] == '\0';
  const std::string_view prefix = text_of(header, prefix_field);
  return ustar && !prefix.empty() ? std::string(prefix) + "/" + name : name;
}

}  // namespace

std::optional<Error> walk_tar(int fd, uint64_t bytes, const std::string& where, const std::function<bool(const TarMember&)>& visit) {
  Extended next;
  for (uint64_t at = 0; at < bytes;) {
    Header header;
    if (bytes - at < block || !read_at(fd, at, header.data(), block))
      return damaged_tar(where, fmt::format("this tar ends within a header, at byte {}", bytes));
    if (std::all_of(header.begin(), header.end(), [](char c) { return c == 0; })) return std::nullopt;  // its end
    if (!checksum_fits(header)) return at == 0 ? no_tar(where, header) : damaged_tar(where, fmt::format("the header at byte {} of this tar is damaged", at));
    const char type = header[type_at];
    const bool about_next = type == 'x' || type == 'L' || type == 'K';
    std::optional<uint64_t> size = number_of(header, size_field);
    if (next.size && !about_next) size = next.size;
    TarMember member{next.path.value_or(name_of(header)), at + block, size.value_or(0), ""};
    if (type == '1') member.bytes = 0;  // some programs write the target's size there, and nothing behind it
    const uint64_t left = bytes - at - block;
    if (!size || member.bytes > left)
      return damaged_tar(where, fmt::format("this tar ends within '{}': {} of its {} bytes are there", member.name, left, member.bytes), "It was not fetched whole");
    if (about_next) {
      if (member.bytes > max_tar_extended_bytes) return damaged_tar(where, fmt::format("the header at byte {} of this tar has {} bytes of names", at, member.bytes));
      std::string text(member.bytes, '\0');
      if (!read_at(fd, at + block, text.data(), text.size())) return damaged_tar(where, fmt::format("byte {} of this tar cannot be read", at + block));
      if (type == 'x' && !read_pax(text, next)) return damaged_tar(where, fmt::format("the pax header at byte {} of this tar is damaged", at));
      if (type == 'L') next.path = text.substr(0, text.find('\0'));
      if (type == 'K') next.link = text.substr(0, text.find('\0'));
    } else {
      if (type == '1') member.link_to = next.link.value_or(std::string(text_of(header, link_field)));
      const bool a_file = type == '0' || type == '\0' || type == '7' || type == '1';
      if (type != 'g') next = {};
      if (type == 'S') return damaged_tar(where, fmt::format("'{}' in this tar is a sparse file, which is not read", member.name));
      if (a_file && !member.name.ends_with('/') && !visit(member)) return std::nullopt;
    }
    at += block + (member.bytes + block - 1) / block * block;
  }
  return std::nullopt;
}

}  // namespace t2i
