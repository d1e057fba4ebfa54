// File bytes → pixels, for JPEG, PNG and WebP; any thread.
//
// The result equals Pillow's ImageOps.exif_transpose(Image.open(f)).convert("RGB"): alpha is dropped and not composed
// with a background, palettes and grey are expanded, CMYK is taken as Adobe writes it (inverted), colour profiles are
// not applied. Two intended differences: Pillow clips 16-bit grey at 255 (nearly white), here it is scaled like 16-bit
// RGB, by its high byte; and a JPEG whose data ends before its last row is refused, where Pillow may fill with grey.
// What was converted stands in Image::notes. The format is read from the first bytes; a file name that says otherwise
// is a note, not an error.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/data/image.h"
#include "core/data/limits.h"

namespace t2i {

// `where` names the file in messages, and its extension is compared with what the bytes say.
// Errors: E3001 damaged or cut short (with the share of rows that could be read), E3002 not one of the three formats,
// E3007 larger than the limits.
Result<Image> decode(std::span<const std::byte> file, const std::string& where, const DecodeLimits& limits = {});

// The same from a path that the user named: anywhere on the disk, but a regular file (E3008 missing, E3010 unreadable).
Result<Image> load_image(const std::string& path, const DecodeLimits& limits = {});

}  // namespace t2i
