// WebP by libwebp's incremental decoder, which can say how far a cut file reached.
#include <webp/decode.h>

#include <cstring>
#include <memory>
#include <string_view>

#include "core/data/codec.h"
#include "core/data/exif.h"

namespace t2i {
namespace {

uint32_t little_endian(const std::byte* p) {
  return static_cast<uint32_t>(p[0]) | static_cast<uint32_t>(p[1]) << 8 | static_cast<uint32_t>(p[2]) << 16 |
         static_cast<uint32_t>(p[3]) << 24;
}

// RIFF: chunks of (name, size, bytes, one byte of padding where the size is odd) after a 12-byte header.
int orientation_of(std::span<const std::byte> file) {
  int from_xmp = 0;
  size_t at = 12;
  while (at + 8 <= file.size()) {
    uint32_t size = little_endian(file.data() + at + 4);
    if (size > file.size() - at - 8) break;
    auto chunk = file.subspan(at + 8, size);
    if (std::memcmp(file.data() + at, "EXIF", 4) == 0)
      if (int orientation = exif_orientation(chunk)) return orientation;
    if (std::memcmp(file.data() + at, "XMP ", 4) == 0)
      from_xmp = xmp_orientation({reinterpret_cast<const char*>(chunk.data()), chunk.size()});
    at += 8 + size_t{size} + (size & 1);
  }
  return from_xmp;
}

}  // namespace

Result<Image> decode_webp(std::span<const std::byte> file, const std::string& where, const DecodeLimits& limits) {
  auto bytes = reinterpret_cast<const uint8_t*>(file.data());
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config))
    return Error{where,       "the installed libwebp does not fit the one built against", "", "build again", "E3001",
                 Exit::failed};
  VP8StatusCode status = WebPGetFeatures(bytes, file.size(), &config.input);
  if (status != VP8_STATUS_OK) return damaged(where, "WebP", status == VP8_STATUS_NOT_ENOUGH_DATA, 0, "");
  if (config.input.has_animation)
    return Error{where,   "an animated WebP; still pictures are read",
                 "",      "save the frame that you want as PNG",
                 "E3002", Exit::bad_data};
  auto width = static_cast<uint64_t>(config.input.width), height = static_cast<uint64_t>(config.input.height);
  if (auto error = too_large(width, height, where, limits)) return *error;

  Image image = blank_image(width, height);
  config.output.colorspace = MODE_RGB;  // drops alpha, does not multiply by it
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = image.rgb.data();
  config.output.u.RGBA.stride = image.width * 3;
  config.output.u.RGBA.size = image.rgb.size();
  std::unique_ptr<WebPIDecoder, decltype(&WebPIDelete)> decoder(WebPINewDecoder(&config.output), &WebPIDelete);
  if (!decoder) return Error{where, "no memory left to decode it", "", "", "E3007", Exit::failed};
  status = WebPIUpdate(decoder.get(), bytes, file.size());
  if (status != VP8_STATUS_OK) {
    int rows = 0;
    WebPIDecGetRGB(decoder.get(), &rows, nullptr, nullptr, nullptr);
    return damaged(where, "WebP", status == VP8_STATUS_SUSPENDED || status == VP8_STATUS_NOT_ENOUGH_DATA,
                   static_cast<double>(rows) / static_cast<double>(height), "");
  }
  if (config.input.has_alpha) image.notes.push_back(note_alpha);
  int orientation = orientation_of(file);
  turn_upright(image, orientation);
  if (orientation > 1 && orientation <= 8) image.notes.push_back(note_turned);
  return image;
}

}  // namespace t2i
