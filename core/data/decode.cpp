#include "core/data/decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "core/data/codec.h"
#include "core/data/file.h"
#include "core/data/text.h"

namespace t2i {
namespace {

enum class Format { jpeg, png, webp, other };

bool begins(std::span<const std::byte> file, std::string_view magic, size_t at = 0) {
  return file.size() >= at + magic.size() && std::memcmp(file.data() + at, magic.data(), magic.size()) == 0;
}

Format format_of(std::span<const std::byte> file) {
  if (begins(file, "\xff\xd8\xff")) return Format::jpeg;
  if (begins(file, "\x89PNG\r\n\x1a\n")) return Format::png;
  if (begins(file, "RIFF") && begins(file, "WEBP", 8)) return Format::webp;
  return Format::other;
}

const char* name_of(Format format) {
  return format == Format::jpeg ? "JPEG" : format == Format::png ? "PNG" : format == Format::webp ? "WebP" : "";
}

Format format_named(const std::string& extension) {
  if (extension == "jpg" || extension == "jpeg" || extension == "jpe") return Format::jpeg;
  if (extension == "png") return Format::png;
  if (extension == "webp") return Format::webp;
  return Format::other;
}

// A file that is none of the three: say what it is instead, and the way out.
Error not_an_image(std::span<const std::byte> file, const std::string& where) {
  struct Kind {
    std::string_view magic;
    size_t at;
    const char* what;
  };
  static constexpr std::array<Kind, 16> pictures{{{"GIF8", 0, "a GIF"},
                                                  {"BM", 0, "a BMP"},
                                                  {std::string_view("II*\0", 4), 0, "a TIFF"},
                                                  {std::string_view("MM\0*", 4), 0, "a TIFF"},
                                                  {"ftypavif", 4, "an AVIF"},
                                                  {"ftypavis", 4, "an AVIF"},
                                                  {"ftyphei", 4, "a HEIC"},
                                                  {"ftyphev", 4, "a HEIC"},
                                                  {"ftypmif1", 4, "a HEIF"},
                                                  {"ftypmsf1", 4, "a HEIF"},
                                                  {"\xff\x0a", 0, "a JPEG XL"},
                                                  {"JXL ", 4, "a JPEG XL"},
                                                  {"8BPS", 0, "a Photoshop file"},
                                                  {std::string_view("\0\0\0\x0cjP  ", 8), 0, "a JPEG 2000"},
                                                  {"v/1\x01", 0, "an OpenEXR"},
                                                  {"#?RADIANCE", 0, "a Radiance HDR"}}};
  Error error{where, "", "", "replace it with the picture itself", "E3002", Exit::bad_data};
  auto text = std::string_view(reinterpret_cast<const char*>(file.data()), std::min<size_t>(file.size(), 512));
  for (const Kind& kind : pictures)
    if (begins(file, kind.magic, kind.at)) {
      error.what = std::string(kind.what) + "; JPEG, PNG and WebP are read";
      error.todo = "convert it to PNG";
      return error;
    }
  if (file.empty()) error.what = "an empty file, not a picture";
  else if (text.starts_with("version https://git-lfs")) {
    error.what = fmt::format("{} bytes of text: a Git-LFS pointer, not the picture", file.size());
    error.todo = "git lfs pull";
  } else if (text.find("<html") != text.npos || text.find("<!DOCTYPE html") != text.npos ||
             text.find("<!doctype html") != text.npos)
    error.what = "a web page saved under a picture's name";
  else if (text.find("<svg") != text.npos) {
    error.what = "an SVG drawing; JPEG, PNG and WebP are read";
    error.todo = "render it to PNG";
  } else if (std::all_of(file.begin(), file.end(), [](std::byte b) { return b == std::byte{0}; }))
    error.what = fmt::format("{} bytes, all zero: not a picture", file.size());
  else error.what = "not a picture that is known; JPEG, PNG and WebP are read";
  return error;
}

}  // namespace

std::optional<Error> too_large(uint64_t width, uint64_t height, const std::string& where, const DecodeLimits& limits) {
  if (width == 0 || height == 0)
    return Error{where,         fmt::format("{} × {} pixels: nothing to see", width, height), "", "remove it", "E3001",
                 Exit::bad_data};
  Error error{where, "", "", "make it smaller, or remove it", "E3007", Exit::bad_data};
  if (width > limits.max_side || height > limits.max_side)
    error.what = fmt::format("{} × {} pixels; a side may have {} at most", width, height, limits.max_side);
  else if (width * height > limits.max_pixels)
    error.what = fmt::format("{} × {} is {:.1f} megapixels; at most {:.1f} are read", width, height,
                             static_cast<double>(width * height) / 1e6, static_cast<double>(limits.max_pixels) / 1e6);
  else return std::nullopt;
  return error;
}

Error damaged(const std::string& where, const std::string& format, bool cut, double share, const std::string& detail) {
  int percent = std::min(99, static_cast<int>(share * 100));  // 100 % would be no damage
  std::string what = cut ? fmt::format("{} ends after {} % of the rows", format, percent)
                         : fmt::format("{} cannot be decoded beyond {} % of the rows", format, percent);
  std::string why = detail.empty() ? "" : fmt::format("The decoder says: {}", detail);
  return {where, what, why, "replace it, or set data.on_error: skip", "E3001", Exit::bad_data};
}

Image blank_image(uint64_t width, uint64_t height) {
  Image image;
  image.width = static_cast<int>(width), image.height = static_cast<int>(height);
  image.rgb.resize(width * height * 3);
  return image;
}

Result<Image> decode(std::span<const std::byte> file, const std::string& where, const DecodeLimits& limits) {
  Format format = format_of(file);
  if (format == Format::other) return not_an_image(file, where);
  auto image = format == Format::jpeg  ? decode_jpeg(file, where, limits)
               : format == Format::png ? decode_png(file, where, limits)
                                       : decode_webp(file, where, limits);
  if (!image) return image;
  std::string extension = extension_of(where);
  Format named = format_named(extension);
  if (named != Format::other && named != format)
    image->notes.push_back(fmt::format("named .{} but {}; read as {}", extension, name_of(format), name_of(format)));
  return image;
}

Result<Image> load_image(const std::string& path, const DecodeLimits& limits) {
  auto file = open_file(path, "", path);
  if (!file) return file.error();
  auto bytes = read_all(file.take(), limits.max_file_bytes, "", path);
  if (!bytes) return bytes.error();
  return decode(*bytes, path, limits);
}

}  // namespace t2i
