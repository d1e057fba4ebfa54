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
// For graphemes: marks since Unicode 16, which join what stands before them; what Unicode 17 does not call pictographic any
// more, so that a joiner behind it joins nothing; and places kept for pictograms to come. All by comparison with the
// tokenizers library, code point by code point.
constexpr Range newer_marks[] = {
    {0x897, 0x897}, {0x1acf, 0x1add}, {0x1ae0, 0x1aeb}, {0x10d69, 0x10d6d}, {0x10efa, 0x10efc}, {0x113b8, 0x113c0},
    {0x113c2, 0x113c2}, {0x113c5, 0x113c5}, {0x113c7, 0x113ca}, {0x113cc, 0x113d0}, {0x113d2, 0x113d2},
    {0x113e1, 0x113e2}, {0x11b60, 0x11b67}, {0x11f5a, 0x11f5a}, {0x1611e, 0x1612f}, {0x1e5ee, 0x1e5ef},
    {0x1e6e3, 0x1e6e3}, {0x1e6e6, 0x1e6e6}, {0x1e6ee, 0x1e6ef}, {0x1e6f5, 0x1e6f5}};
constexpr Range no_pictograms[] = {
    {0x2388, 0x2388}, {0x2605, 0x2605}, {0x2607, 0x260d}, {0x260f, 0x2610}, {0x2612, 0x2612}, {0x2616, 0x2617},
    {0x2619, 0x261c}, {0x261e, 0x261f}, {0x2621, 0x2621}, {0x2624, 0x2625}, {0x2627, 0x2629}, {0x262b, 0x262d},
    {0x2630, 0x2637}, {0x263b, 0x263f}, {0x2641, 0x2641}, {0x2643, 0x2647}, {0x2654, 0x265e}, {0x2661, 0x2662},
    {0x2664, 0x2664}, {0x2667, 0x2667}, {0x2669, 0x267a}, {0x267c, 0x267d}, {0x2680, 0x2685}, {0x2690, 0x2691},
    {0x2698, 0x2698}, {0x269a, 0x269a}, {0x269d, 0x269f}, {0x26a2, 0x26a6}, {0x26a8, 0x26a9}, {0x26ac, 0x26af},
    {0x26b2, 0x26bc}, {0x26bf, 0x26c3}, {0x26c6, 0x26c7}, {0x26c9, 0x26cd}, {0x26d0, 0x26d0}, {0x26d2, 0x26d2},
    {0x26d5, 0x26e8}, {0x26eb, 0x26ef}, {0x26f6, 0x26f6}, {0x26fb, 0x26fc}, {0x26fe, 0x2701}, {0x2703, 0x2704},
    {0x270e, 0x270e}, {0x2710, 0x2711}, {0x2765, 0x2767}, {0x1f000, 0x1f003}, {0x1f005, 0x1f02b}, {0x1f030, 0x1f093},
    {0x1f0a0, 0x1f0ae}, {0x1f0b1, 0x1f0bf}, {0x1f0c1, 0x1f0ce}, {0x1f0d1, 0x1f0f5}, {0x1f10d, 0x1f10f},
    {0x1f12f, 0x1f12f}, {0x1f16c, 0x1f16f}, {0x1f1ad, 0x1f1ad}, {0x1f260, 0x1f265}, {0x1f322, 0x1f323},
    {0x1f394, 0x1f395}, {0x1f398, 0x1f398}, {0x1f39c, 0x1f39d}, {0x1f3f1, 0x1f3f2}, {0x1f3f6, 0x1f3f6},
    {0x1f4fe, 0x1f4fe}, {0x1f546, 0x1f548}, {0x1f54f, 0x1f54f}, {0x1f568, 0x1f56e}, {0x1f571, 0x1f572},
    {0x1f57b, 0x1f586}, {0x1f588, 0x1f589}, {0x1f58e, 0x1f58f}, {0x1f591, 0x1f594}, {0x1f597, 0x1f5a3},
    {0x1f5a6, 0x1f5a7}, {0x1f5a9, 0x1f5b0}, {0x1f5b3, 0x1f5bb}, {0x1f5bd, 0x1f5c1}, {0x1f5c5, 0x1f5d0},
    {0x1f5d4, 0x1f5db}, {0x1f5df, 0x1f5e0}, {0x1f5e2, 0x1f5e2}, {0x1f5e4, 0x1f5e7}, {0x1f5e9, 0x1f5ee},
    {0x1f5f0, 0x1f5f2}, {0x1f5f4, 0x1f5f9}, {0x1f6c6, 0x1f6ca}, {0x1f6d3, 0x1f6d4}, {0x1f6e6, 0x1f6e8},
    {0x1f6ea, 0x1f6ea}, {0x1f6f1, 0x1f6f2}, {0x1f774, 0x1f776}, {0x1f77b, 0x1f77f}, {0x1f7d5, 0x1f7d9},
    {0x1f8b0, 0x1f8b1}, {0x1fa00, 0x1fa53}, {0x1fa60, 0x1fa6d}};
constexpr Range pictograms_to_come[] = {
    {0x1f02c, 0x1f02f}, {0x1f094, 0x1f09f}, {0x1f0af, 0x1f0b0}, {0x1f0c0, 0x1f0c0}, {0x1f0d0, 0x1f0d0},
    {0x1f0f6, 0x1f0ff}, {0x1f1ae, 0x1f1e5}, {0x1f203, 0x1f20f}, {0x1f23c, 0x1f23f}, {0x1f249, 0x1f24f},
    {0x1f252, 0x1f25f}, {0x1f266, 0x1f2ff}, {0x1f6d8, 0x1f6db}, {0x1f6ed, 0x1f6ef}, {0x1f6fd, 0x1f6ff},
    {0x1f7da, 0x1f7df}, {0x1f7ec, 0x1f7ef}, {0x1f7f1, 0x1f7ff}, {0x1f80c, 0x1f80f}, {0x1f848, 0x1f84f},
    {0x1f85a, 0x1f85f}, {0x1f888, 0x1f88f}, {0x1f8ae, 0x1f8af}, {0x1f8bc, 0x1f8bf}, {0x1f8c2, 0x1f8cf},
    {0x1f8d9, 0x1f8ff}, {0x1fa58, 0x1fa5f}, {0x1fa6e, 0x1fa6f}, {0x1fa7d, 0x1fa7f}, {0x1fa89, 0x1fa8f},
    {0x1fabe, 0x1fabe}, {0x1fac6, 0x1facd}, {0x1fadc, 0x1fadf}, {0x1fae9, 0x1faef}, {0x1faf9, 0x1faff},
    {0x1fc00, 0x1fffd}};
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

// A code point of the same behaviour in graphemes, which every utf8proc knows.
static utf8proc_int32_t known_in_graphemes(char32_t c) {
  constexpr char32_t mark = 0x300, letter = 'a', pictogram = 0x263a, prepended = 0x600;
  if (c < newer_marks[0].first) return static_cast<utf8proc_int32_t>(c);
  if (c == 0x113d1) c = prepended;
  else if (c == 0x11a3a || within(no_pictograms, c)) c = letter;
  else if (within(newer_marks, c)) c = mark;
  else if (within(pictograms_to_come, c)) c = pictogram;
  return static_cast<utf8proc_int32_t>(c);
}

size_t grapheme_end(std::string_view text, size_t at) {
  utf8proc_int32_t state = 0;
  utf8proc_int32_t before = known_in_graphemes(next_code_point(text, at));
  while (at < text.size()) {
    size_t next = at;
    utf8proc_int32_t c = known_in_graphemes(next_code_point(text, next));
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
