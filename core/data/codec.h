// The three decoders behind decode(), and what they share. Not for use outside this room.
#pragma once
#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "core/base/error.h"
#include "core/data/image.h"
#include "core/data/limits.h"

namespace t2i {

// Each gives the pixels upright. They take only files that begin as their format does.
Result<Image> decode_jpeg(std::span<const std::byte> file, const std::string& where, const DecodeLimits& limits);
Result<Image> decode_png(std::span<const std::byte> file, const std::string& where, const DecodeLimits& limits);
Result<Image> decode_webp(std::span<const std::byte> file, const std::string& where, const DecodeLimits& limits);

// E3007 if an image of this size is not to be decoded; asked before any memory is.
std::optional<Error> too_large(uint64_t width, uint64_t height, const std::string& where, const DecodeLimits& limits);

// E3001: the file ends (`cut`) or is damaged after `share` (0…1) of its rows. `detail`: the library's own words.
Error damaged(const std::string& where, const std::string& format, bool cut, double share, const std::string& detail);

// Room for the pixels, left unset where the library allows. Sizes must have passed too_large().
Image blank_image(uint64_t width, uint64_t height);

// Phrases for Image::notes.
inline constexpr const char* note_alpha = "transparency dropped";
inline constexpr const char* note_grey = "grey made RGB";
inline constexpr const char* note_palette = "palette made RGB";
inline constexpr const char* note_16_bit = "16 bits a channel reduced to 8";
inline constexpr const char* note_cmyk = "CMYK converted to RGB without its colour profile";
inline constexpr const char* note_turned = "turned upright as its EXIF orientation says";
inline constexpr const char* note_damage = "damaged in places, read as far as it can be";

}  // namespace t2i
