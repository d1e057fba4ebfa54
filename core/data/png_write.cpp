#include "core/data/png_write.h"

#include <png.h>
#include <setjmp.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "core/base/file.h"
#include "core/data/file.h"
#include "core/data/limits.h"
#include "core/data/png_chunks.h"

namespace t2i {
namespace {

struct PngWriter {
  png_structp png = nullptr;
  png_infop info = nullptr;
  jmp_buf escape;
  std::vector<uint8_t> bytes;
  std::vector<png_text> entries;
  std::string problem;

  PngWriter() = default;
  PngWriter(const PngWriter&) = delete;
  PngWriter& operator=(const PngWriter&) = delete;
  ~PngWriter() { png_destroy_write_struct(&png, &info); }
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto& writer = *static_cast<PngWriter*>(png_get_error_ptr(png));
  if (writer.problem.empty()) writer.problem = message;
  longjmp(writer.escape, 1);
}

// libpng only warns of a keyword it does not like, and then leaves the text out.
void on_warning(png_structp png, png_const_charp message) {
  static_cast<PngWriter*>(png_get_error_ptr(png))->problem = message;
}

void take_bytes(png_structp png, png_bytep from, size_t count) {
  auto& writer = *static_cast<PngWriter*>(png_get_io_ptr(png));
  try {
    writer.bytes.insert(writer.bytes.end(), from, from + count);
  } catch (const std::bad_alloc&) {  // must not pass through the library's frames
    writer.problem = "no memory left";
  }
}

// Nothing with a destructor lives here: an error leaves by longjmp.
bool write_all_rows(PngWriter& writer, unsigned width, unsigned height, const uint8_t* rgb) {
  if (setjmp(writer.escape)) return false;
  writer.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &writer, on_error, on_warning);
  if (!writer.png) return false;
  writer.info = png_create_info_struct(writer.png);
  if (!writer.info) return false;
  png_set_write_fn(writer.png, &writer, take_bytes, nullptr);
  png_set_IHDR(writer.png, writer.info, width, height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!writer.entries.empty())
    png_set_text(writer.png, writer.info, writer.entries.data(), static_cast<int>(writer.entries.size()));
  png_write_info(writer.png, writer.info);
  for (unsigned y = 0; y < height; ++y) png_write_row(writer.png, rgb + size_t{y} * width * 3);
  png_write_end(writer.png, writer.info);
  return writer.problem.empty();
}

bool is_ascii(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

Error cannot_encode(std::string what) {
  return {"PNG", std::move(what), "", "give another size or keyword", "E3014", Exit::io};
}

}  // namespace

std::vector<uint8_t> encode_png(int width, int height, std::span<const uint8_t> rgb, const PngText& text) {
  if (width <= 0 || height <= 0 || rgb.size() != static_cast<size_t>(width) * static_cast<size_t>(height) * 3)
    fail(cannot_encode(std::to_string(rgb.size()) + " bytes are not " + std::to_string(width) + " × " +
                       std::to_string(height) + " pixels"));
  PngWriter writer;
  for (const auto& [keyword, value] : text) {
    png_text entry{};
    entry.compression = is_ascii(value) ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
    entry.key = const_cast<char*>(keyword.c_str());  // libpng copies both
    entry.text = const_cast<char*>(value.c_str());
    writer.entries.push_back(entry);
  }
  if (!write_all_rows(writer, static_cast<unsigned>(width), static_cast<unsigned>(height), rgb.data()))
    fail(cannot_encode("it cannot be encoded: " + writer.problem));
  return std::move(writer.bytes);
}

void write_png(const std::string& path, int width, int height, std::span<const uint8_t> rgb, const PngText& text) {
  std::vector<uint8_t> bytes = encode_png(width, height, rgb, text);
  write_file(path, std::as_bytes(std::span(bytes)));
}

Result<std::map<std::string, std::string>> read_png_text(const std::string& path) {
  auto file = open_file(path, "", path);
  if (!file) return file.error();
  auto bytes = read_all(file.take(), DecodeLimits{}.max_file_bytes, "", path);
  if (!bytes) return bytes.error();
  if (bytes->size() < 8 || std::memcmp(bytes->data(), "\x89PNG\r\n\x1a\n", 8) != 0)
    return Error{path, "not a PNG", "", "give a PNG", "E3002", Exit::bad_data};
  std::map<std::string, std::string> texts;
  walk_png(*bytes, [&](const PngChunk& chunk) {
    if (auto entry = png_text_of(chunk, max_png_text_bytes)) texts.emplace(entry->keyword, entry->text);
    return chunk.type != "IEND";
  });
  return texts;
}

}  // namespace t2i
