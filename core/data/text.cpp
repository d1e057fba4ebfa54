#include "core/data/text.h"

#include <cstdint>

namespace t2i {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view white = " \t\r\n\f\v";
  size_t first = text.find_first_not_of(white);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(white) - first + 1);
}

size_t find_bad_utf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    auto lead = static_cast<unsigned char>(text[at]);
    size_t length = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
    if (length == 0 || at + length > text.size()) return at;
    uint32_t code = length == 1 ? lead : lead & (0x7fu >> length);
    for (size_t i = 1; i < length; ++i) {
      auto next = static_cast<unsigned char>(text[at + i]);
      if (next >> 6 != 2) return at;
      code = code << 6 | (next & 0x3f);
    }
    constexpr uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};  // below, a shorter form exists
    if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return at;
    at += length;
  }
  return text.npos;
}

std::string counted(size_t n, const std::string& noun) {
  std::string digits = std::to_string(n), grouped;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) grouped += ',';
    grouped += digits[i];
  }
  return grouped + " " + noun + (n == 1 ? "" : "s");
}

std::string extension_of(const std::string& path) {
  size_t name = path.rfind('/') == path.npos ? 0 : path.rfind('/') + 1, dot = path.rfind('.');
  if (dot == path.npos || dot <= name) return "";
  std::string extension = path.substr(dot + 1);
  for (char& c : extension)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return extension;
}

std::string caption_from_name(const std::string& path) {
  size_t name = path.rfind('/') == path.npos ? 0 : path.rfind('/') + 1;
  std::string caption = path.substr(name);
  if (!extension_of(path).empty()) caption.resize(caption.rfind('.'));
  for (char& c : caption)
    if (c == '_' || c == '-') c = ' ';
  return std::string(trimmed(caption));
}

}  // namespace t2i
