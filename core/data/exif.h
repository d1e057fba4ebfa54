// The one thing wanted from a picture's metadata: which way up it is.
#pragma once
#include <cstddef>
#include <span>
#include <string_view>

namespace t2i {

// The orientation (tag 0x0112 of the first IFD) in EXIF bytes, with or without the leading "Exif\0\0"; 0 if there is
// none or the bytes make no sense.
int exif_orientation(std::span<const std::byte> exif);

// The same from an XMP packet (tiff:Orientation as attribute or element); used where EXIF has none, as Pillow does.
int xmp_orientation(std::string_view xmp);

}  // namespace t2i
