// PNG by libpng's row interface. Metadata is read by png_chunks, not by libpng, which is told to step over it: no
// compressed text is inflated, no profile parsed.
//
// As in jpeg.cpp, the functions between setjmp and the library hold nothing with a destructor.
#include <png.h>
#include <setjmp.h>

#include <cstring>

#include "core/data/codec.h"
#include "core/data/exif.h"
#include "core/data/png_chunks.h"

namespace t2i {
namespace {

struct PngReader {
  png_structp png = nullptr;
  png_infop info = nullptr;
  jmp_buf escape;
  const unsigned char* bytes = nullptr;
  size_t size = 0, at = 0;
  bool ended = false;
  char text[160] = "";
  int passes = 0;
  double rows_read = 0;  // over all passes

  PngReader() = default;
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto& reader = *static_cast<PngReader*>(png_get_error_ptr(png));
  std::strncpy(reader.text, message, sizeof reader.text - 1);
  longjmp(reader.escape, 1);
}

void on_warning(png_structp, png_const_charp) {}

void read_bytes(png_structp png, png_bytep out, size_t count) {
  auto& reader = *static_cast<PngReader*>(png_get_io_ptr(png));
  if (count > reader.size - reader.at) {
    reader.ended = true;
    png_error(png, "the file ends");
  }
  std::memcpy(out, reader.bytes + reader.at, count);
  reader.at += count;
}

bool read_header(PngReader& reader) {
  if (setjmp(reader.escape)) return false;
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
  if (!reader.png) return false;
  reader.info = png_create_info_struct(reader.png);
  if (!reader.info) return false;
  png_set_read_fn(reader.png, &reader, read_bytes);
  png_set_compression_buffer_size(reader.png, 1024);  // of a cut file, all rows but those of the last 1024 bytes count
  png_set_user_limits(reader.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // too_large() has decided
  png_set_chunk_malloc_max(reader.png, 0);
  png_set_keep_unknown_chunks(reader.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);  // all but what pixels need
  png_read_info(reader.png, reader.info);
  png_set_expand_gray_1_2_4_to_8(reader.png);
  png_set_palette_to_rgb(reader.png);
  png_set_strip_16(reader.png);
  png_set_gray_to_rgb(reader.png);
  png_set_strip_alpha(reader.png);
  reader.passes = png_set_interlace_handling(reader.png);
  png_read_update_info(reader.png, reader.info);
  return true;
}

bool read_rows(PngReader& reader, unsigned char* rows, size_t stride, unsigned height) {
  if (setjmp(reader.escape)) return false;
  for (int pass = 0; pass < reader.passes; ++pass)
    for (unsigned y = 0; y < height; ++y) {
      png_read_row(reader.png, rows + stride * y, nullptr);
      reader.rows_read += 1;
    }
  return true;
}

struct Found {
  int orientation = 0;
  bool transparency = false;
};

// Orientation from the eXIf chunk, else from the text entry in which older programs kept EXIF as hex digits, else XMP.
Found read_metadata(std::span<const std::byte> file) {
  Found found;
  int from_exif = 0, from_profile = 0, from_xmp = 0;
  walk_png(file, [&](const PngChunk& chunk) {
    if (chunk.type == "tRNS") found.transparency = true;
    if (chunk.type == "eXIf" && !from_exif)
      from_exif = exif_orientation({reinterpret_cast<const std::byte*>(chunk.data.data()), chunk.data.size()});
    bool profile = chunk.data.starts_with("Raw profile type exif"), xmp = chunk.data.starts_with("XML:com.adobe.xmp");
    if ((profile && !from_profile) || (xmp && !from_xmp)) {
      auto entry = png_text_of(chunk, max_exif_bytes);
      if (entry && xmp) from_xmp = xmp_orientation(entry->text);
      if (entry && profile) {
        // "\nexif\n   length\nhex digits in lines"
        std::string bytes;
        size_t line = entry->text.find('\n', 1);
        if (line != std::string::npos) line = entry->text.find('\n', line + 1);
        int high = -1;
        for (size_t i = line; i < entry->text.size(); ++i) {
          char c = entry->text[i];
          int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
          if (digit < 0) continue;
          if (high >= 0) bytes += static_cast<char>(high << 4 | digit);
          high = high >= 0 ? -1 : digit;
        }
        from_profile = exif_orientation({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()});
      }
    }
    return true;
  });
  found.orientation = from_exif ? from_exif : from_profile ? from_profile : from_xmp;
  return found;
}

}  // namespace

Result<Image> decode_png(std::span<const std::byte> file, const std::string& where, const DecodeLimits& limits) {
  auto size = png_size_of(file);
  if (!size) return damaged(where, "PNG", file.size() < 33, 0, file.size() < 33 ? "" : "no size at the beginning");
  if (auto error = too_large(size->width, size->height, where, limits)) return *error;
  PngReader reader;
  reader.bytes = reinterpret_cast<const unsigned char*>(file.data());
  reader.size = file.size();
  if (!read_header(reader)) return damaged(where, "PNG", reader.ended, 0, reader.ended ? "" : reader.text);
  size_t stride = size_t{size->width} * 3;
  if (png_get_rowbytes(reader.png, reader.info) != stride ||
      png_get_image_height(reader.png, reader.info) != size->height)
    return damaged(where, "PNG", false, 0, "its rows have another size than its header says");

  Image image = blank_image(size->width, size->height);
  if (!read_rows(reader, image.rgb.data(), stride, size->height))
    return damaged(where, "PNG", reader.ended, reader.rows_read / (double{1} * size->height * reader.passes),
                   reader.ended ? "" : reader.text);
  Found found = read_metadata(file);
  // The header's own words; after png_read_update_info libpng would tell what the rows became.
  auto depth = static_cast<unsigned char>(file[24]), colour = static_cast<unsigned char>(file[25]);
  if (colour == PNG_COLOR_TYPE_PALETTE) image.notes.push_back(note_palette);
  if (!(colour & PNG_COLOR_MASK_COLOR)) image.notes.push_back(note_grey);
  if (depth == 16) image.notes.push_back(note_16_bit);
  if ((colour & PNG_COLOR_MASK_ALPHA) || found.transparency) image.notes.push_back(note_alpha);
  turn_upright(image, found.orientation);
  if (found.orientation > 1 && found.orientation <= 8) image.notes.push_back(note_turned);
  return image;
}

}  // namespace t2i
