// utf8proc does the work. Debian 12 has its version 2.8 (Unicode 15.0), while the tokenizers library that published
// models are used with knows Unicode 16: the tables below are what was assigned in between, so that a prompt gets the
// same tokens whichever utf8proc is installed. Its NFC is older than its classes: it knows Unicode 9.
#include "unicode.hpp"

#include <t2i/t2i.hpp>
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

namespace t2i {
namespace {

struct Range {
  char32_t first, last;
};
constexpr Range newer_letters[] = {
    {0x1c89, 0x1c8a},   {0xa7cb, 0xa7cd},   {0xa7da, 0xa7dc},   {0x105c0, 0x105f3}, {0x10d4a, 0x10d65},
    {0x10d6f, 0x10d85}, {0x10ec2, 0x10ec4}, {0x11380, 0x11389}, {0x1138b, 0x1138b}, {0x1138e, 0x1138e},
    {0x11390, 0x113b5}, {0x113b7, 0x113b7}, {0x113d1, 0x113d1}, {0x113d3, 0x113d3}, {0x11bc0, 0x11be0},
    {0x13460, 0x143fa}, {0x16100, 0x1611d}, {0x16d40, 0x16d6c}, {0x18cff, 0x18cff}, {0x1e5d0, 0x1e5ed},
    {0x1e5f0, 0x1e5f0}, {0x2ebf0, 0x2ee5d}};
constexpr Range newer_numbers[] = {{0x10d40, 0x10d49}, {0x116d0, 0x116e3}, {0x11bf0, 0x11bf9}, {0x16130, 0x16139},
                                   {0x16d70, 0x16d79}, {0x1ccf0, 0x1ccf9}, {0x1e5f1, 0x1e5fa}};
// The marks that came after Unicode 9, and letters that are composed since: that library's NFC takes each of them for a
// letter that nothing moves past and that composes with nothing. Where a whole block is new, the block.
constexpr Range newer_than_nfc[] = {
    {0x7fd, 0x7fd},     {0x897, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},     {0xc3c, 0xc3c},
    {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0xece, 0xece},     {0x1715, 0x1715},   {0x1abf, 0x1ace},
    {0x1df6, 0x1dfa},   {0xa82c, 0xa82c},   {0x105c0, 0x105f3}, {0x10d24, 0x10d27}, {0x10d69, 0x10d6d},
    {0x10eab, 0x10eac}, {0x10efc, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070},
    {0x1133b, 0x1133b}, {0x11380, 0x113e2}, {0x1145e, 0x1145e}, {0x11839, 0x1183a}, {0x11930, 0x11943},
    {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d45},
    {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x16100, 0x16139}, {0x16d40, 0x16d79}, {0x16ff0, 0x16ff1},
    {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef},
    {0x1e5ee, 0x1e5ef}};
struct Shift {
  char32_t first, last;
  int32_t by;
};
constexpr Shift newer_capitals[] = {{0x1c89, 0x1c89, 1},      {0xa7cb, 0xa7cb, -42343}, {0xa7cc, 0xa7cc, 1},
                                    {0xa7ce, 0xa7ce, 1},      {0xa7d2, 0xa7d2, 1},      {0xa7d4, 0xa7d4, 1},
                                    {0xa7da, 0xa7da, 1},      {0xa7dc, 0xa7dc, -42561}, {0x10d50, 0x10d65, 32},
                                    {0x16ea0, 0x16eb8, 27}};

template <size_t n>
bool within(const Range (&ranges)[n], char32_t c) {
  return std::any_of(ranges, ranges + n, [c](const Range& r) { return r.first <= c && c <= r.last; });
}
std::string composed(std::string_view text) {
  utf8proc_uint8_t* raw = nullptr;
  auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  utf8proc_ssize_t n = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                    static_cast<utf8proc_ssize_t>(text.size()), &raw, options);
  std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owned(raw, &std::free);
  if (n < 0) fail(std::string("text cannot be normalised: ") + utf8proc_errmsg(n));
  return std::string(reinterpret_cast<const char*>(raw), static_cast<size_t>(n));
}
int category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

}  // namespace

bool is_letter(char32_t c) {
  int k = category(c);
  return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) || within(newer_letters, c);
}

bool is_number(char32_t c) {
  int k = category(c);
  return (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO) || within(newer_numbers, c);
}

bool is_word(char32_t c) {
  int k = category(c);
  bool mark = k >= UTF8PROC_CATEGORY_MN && k <= UTF8PROC_CATEGORY_ME;
  bool number = k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || within(newer_numbers, c);
  bool circled_letter = c >= 0x24b6 && c <= 0x24e9;
  return is_letter(c) || mark || number || circled_letter || k == UTF8PROC_CATEGORY_PC || c == 0x200c || c == 0x200d;
}

bool is_space(char32_t c) {
  int k = category(c);
  return (c >= 9 && c <= 13) || c == 0x85 || k == UTF8PROC_CATEGORY_ZS || k == UTF8PROC_CATEGORY_ZL ||
         k == UTF8PROC_CATEGORY_ZP;
}

char32_t next_code_point(std::string_view text, size_t& at) {
  utf8proc_int32_t c = 0;
  utf8proc_ssize_t n = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                                        static_cast<utf8proc_ssize_t>(text.size() - at), &c);
  if (n <= 0) fail("text is not UTF-8 at byte " + std::to_string(at));
  at += static_cast<size_t>(n);
  return static_cast<char32_t>(c);
}

void append_code_point(std::string& text, char32_t c) {
  utf8proc_uint8_t bytes[4];
  utf8proc_ssize_t n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(n));
}

size_t grapheme_end(std::string_view text, size_t at) {
  utf8proc_int32_t state = 0;
  auto before = static_cast<utf8proc_int32_t>(next_code_point(text, at));
  while (at < text.size()) {
    size_t next = at;
    auto c = static_cast<utf8proc_int32_t>(next_code_point(text, next));
    if (utf8proc_grapheme_break_stateful(before, c, &state)) break;
    before = c, at = next;
  }
  return at;
}

size_t find_invalid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    utf8proc_int32_t c = 0;
    utf8proc_ssize_t n = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                                          static_cast<utf8proc_ssize_t>(text.size() - at), &c);
    if (n <= 0) return at;
    at += static_cast<size_t>(n);
  }
  return std::string_view::npos;
}

std::string nfc(std::string_view text) {
  std::string out;
  size_t start = 0;
  for (size_t at = 0; at < text.size();) {
    size_t here = at;
    char32_t c = next_code_point(text, at);
    if (c < newer_than_nfc[0].first || !within(newer_than_nfc, c)) continue;
    out += composed(text.substr(start, here - start));
    out += text.substr(here, at - here);
    start = at;
  }
  return out + composed(text.substr(start));
}

std::string lower_case(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    char32_t c = next_code_point(text, at);
    if (c == 0x130) {  // the one capital whose small form is two code points: i and a dot above
      out += "i\xcc\x87";
      continue;
    }
    auto small = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
    for (const Shift& s : newer_capitals)
      if (s.first <= c && c <= s.last) small = static_cast<char32_t>(static_cast<int64_t>(c) + s.by);
    append_code_point(out, small);
  }
  return out;
}

}  // namespace t2i
