// Small things about captions and counts.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace t2i {

// `text` without white space at its ends.
std::string_view trimmed(std::string_view text);

// Where the first byte lies that is not UTF-8 (RFC 3629: no overlong forms, no surrogates); npos if all is.
size_t find_bad_utf8(std::string_view text);

// "1 image", "12,345 images".
std::string counted(size_t n, const std::string& noun);

// "cats/red_car-02.png" → "red car 02".
std::string caption_from_name(const std::string& path);

// The extension in lower case, without its dot; "" for none.
std::string extension_of(const std::string& path);

}  // namespace t2i
