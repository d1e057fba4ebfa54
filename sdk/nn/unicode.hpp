// What a text tokenizer must know of Unicode: classes, lower case, NFC. Code points are char32_t, texts UTF-8.
#pragma once
#include <string>
#include <string_view>

namespace t2i {

bool is_letter(char32_t c);  // \p{L}
bool is_number(char32_t c);  // \p{N}
bool is_word(char32_t c);    // \w: letters, marks, decimal digits, connectors, joiners
bool is_space(char32_t c);   // White_Space, what \s means in the regular expressions of tokenizers

// The code point at text[at], and `at` moved behind it. `text` must be valid UTF-8.
char32_t next_code_point(std::string_view text, size_t& at);
void append_code_point(std::string& text, char32_t c);

// Where the extended grapheme cluster that begins at text[at] ends (UAX 29): a letter with its marks, for example.
size_t grapheme_end(std::string_view text, size_t at);

// Where the first byte lies that is not valid UTF-8, npos when all is.
size_t find_invalid_utf8(std::string_view text);
// Canonical composition, of what Unicode 9 knew. `text` must be valid UTF-8.
std::string nfc(std::string_view text);
// Code point by code point and blind to context: a final capital sigma becomes the same small sigma as any other.
std::string lower_case(std::string_view text);

}  // namespace t2i
