// For this room's tests: a folder that is removed with its owner, and pictures made by the codecs' own encoders.
#pragma once
#include <jpeglib.h>
#include <stdlib.h>
#include <webp/encode.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/base/file.h"
#include "core/data/image.h"
#include "core/data/png_write.h"

namespace t2i::testing_files {

class TestFolder {
  std::string path_;

 public:
  TestFolder() {
    path_ = (std::filesystem::temp_directory_path() / ("t2i-data-" + random_hex(16))).string();
    std::filesystem::create_directory(path_);
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  void write(const std::string& name, const std::string& bytes) const {
    std::filesystem::create_directories(std::filesystem::path(path_ + "/" + name).parent_path());
    std::ofstream(path_ + "/" + name, std::ios::binary) << bytes;
  }
};

// A picture in which every pixel can be told from its neighbours.
inline Image make_picture(int width, int height, int seed = 0) {
  Image image;
  image.width = width, image.height = height;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      image.rgb.push_back(static_cast<uint8_t>(x * 255 / width));
      image.rgb.push_back(static_cast<uint8_t>(y * 255 / height));
      image.rgb.push_back(static_cast<uint8_t>((x * 7 + y * 13 + seed * 31) % 256));
    }
  return image;
}

inline std::string png_bytes(const Image& image) {
  std::vector<uint8_t> bytes = encode_png(image.width, image.height, image.rgb);
  return {bytes.begin(), bytes.end()};
}

inline std::string jpeg_bytes(const Image& image, bool progressive = false, const std::string& app1 = "") {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* out = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &out, &size);
  info.image_width = static_cast<unsigned>(image.width), info.image_height = static_cast<unsigned>(image.height);
  info.input_components = 3, info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 95, TRUE);
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  if (!app1.empty())
    jpeg_write_marker(&info, JPEG_APP0 + 1, reinterpret_cast<const JOCTET*>(app1.data()),
                      static_cast<unsigned>(app1.size()));
  while (info.next_scanline < info.image_height) {
    auto row = const_cast<JSAMPROW>(image.row(static_cast<int>(info.next_scanline)));
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  std::string bytes(reinterpret_cast<char*>(out), size);
  jpeg_destroy_compress(&info);
  ::free(out);
  return bytes;
}

inline std::string webp_bytes(const Image& image, bool lossless) {
  uint8_t* out = nullptr;
  size_t size = lossless ? WebPEncodeLosslessRGB(image.rgb.data(), image.width, image.height, image.width * 3, &out)
                         : WebPEncodeRGB(image.rgb.data(), image.width, image.height, image.width * 3, 90, &out);
  std::string bytes(reinterpret_cast<char*>(out), size);
  WebPFree(out);
  return bytes;
}

// An EXIF block with nothing but an orientation, as a camera would write it.
inline std::string exif_bytes(int orientation, bool little = true) {
  auto number = [&](unsigned value, int size) {
    std::string bytes;
    for (int i = 0; i < size; ++i) bytes += static_cast<char>(value >> 8 * (little ? i : size - 1 - i));
    return bytes;
  };
  return std::string("Exif\0\0", 6) + (little ? "II" : "MM") + number(42, 2) + number(8, 4) + number(1, 2) +
         number(0x0112, 2) + number(3, 2) + number(1, 4) + number(static_cast<unsigned>(orientation), 2) +
         number(0, 2) + number(0, 4);
}

inline std::span<const std::byte> as_span(const std::string& bytes) {
  return {reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()};
}

}  // namespace t2i::testing_files
