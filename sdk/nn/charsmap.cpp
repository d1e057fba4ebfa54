#include "charsmap.hpp"

#include <t2i/t2i.hpp>

#include "unicode.hpp"

namespace t2i {

Charsmap::Charsmap(std::string_view bytes, std::string where) : where_(std::move(where)) {
  if (bytes.empty()) return;
  auto u32 = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
    return value;
  };
  if (bytes.size() < 4 || u32(0) < 4 || u32(0) % 4 != 0 || u32(0) > bytes.size() - 4) broken();
  const size_t texts = 4 + u32(0);
  trie_.reserve(texts / 4 - 1);
  for (size_t at = 4; at < texts; at += 4) trie_.push_back(u32(at));
  texts_ = bytes.substr(texts);
  if (find_invalid_utf8(texts_) != texts_.npos) broken();
}

void Charsmap::broken() const {
  fail(where_ + ": the table of normalisation (precompiled_charsmap) is broken. → Restore the published model's file.");
}

std::optional<std::string_view> Charsmap::find(std::string_view text) const {
  size_t node = 0;
  auto unit = [&]() -> uint32_t {
    if (node >= trie_.size()) broken();
    return trie_[node];
  };
  auto to_children = [&](uint32_t u) { node ^= static_cast<size_t>(u >> 10) << ((u & 1u << 9) >> 6); };
  to_children(unit());
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    node ^= byte;
    uint32_t u = unit();
    if (byte == 0 || (u & (1u << 31 | 0xff)) != byte) return std::nullopt;
    to_children(u);
    if (!(u >> 8 & 1)) continue;  // no entry ends here
    size_t begin = unit() & ~(1u << 31), end = texts_.find('\0', begin);
    if (begin > texts_.size() || (begin < texts_.size() && (texts_[begin] & 0xc0) == 0x80)) broken();
    return std::string_view(texts_).substr(begin, end == texts_.npos ? end : end - begin);
  }
  return std::nullopt;
}

std::string Charsmap::normalise(std::string_view text) const {
  if (trie_.empty()) return std::string(text);
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t end = grapheme_end(text, at);
    if (end - at < 6)
      if (auto whole = find(text.substr(at, end - at))) {
        out += *whole;
        at = end;
        continue;
      }
    while (at < end) {
      size_t begin = at;
      next_code_point(text, at);
      std::string_view one = text.substr(begin, at - begin);
      out += find(one).value_or(one);
    }
  }
  return out;
}

}  // namespace t2i
