// How large a picture is, from the beginning of its file: nothing is decoded.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "core/data/file.h"

namespace t2i {

struct PictureSize {
  uint32_t width = 0, height = 0;  // upright
};

// Of a JPEG, PNG or WebP; nothing where the bytes are none of these or end before they tell.
std::optional<PictureSize> picture_size(std::span<const std::byte> begin);

// The same of a file, of which no more is read than is needed.
std::optional<PictureSize> picture_size(const OpenedFile& file);

}  // namespace t2i
