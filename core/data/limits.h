// Every bound on what is read from a data folder, in one place. A bound is checked before memory is asked for, so a
// hostile or broken file costs milliseconds and no memory.
#pragma once
#include <cstddef>
#include <cstdint>

namespace t2i {

struct DecodeLimits {
  uint64_t max_pixels = 178'956'970;              // width × height; where PIL refuses a "decompression bomb" too
  uint32_t max_side = 65'500;                     // pixels; JPEG's own limit
  int max_jpeg_scans = 500;                       // a real progressive file has about ten
  uint64_t max_jpeg_scan_pixels = 4'000'000'000;  // scans × pixels: each scan walks the whole image again
  uint64_t max_bytes_per_pixel = 8;               // memory a decoder may take in all, output included
  uint64_t max_file_bytes = uint64_t{1} << 30;
};

inline constexpr size_t max_exif_bytes = size_t{1} << 20;        // of an inflated PNG profile
inline constexpr size_t max_png_text_bytes = size_t{1} << 20;    // of one text entry read back from a PNG
inline constexpr size_t max_json_line_bytes = size_t{16} << 20;  // one row of a .jsonl
inline constexpr int max_json_depth = 64;                        // nesting within a row
inline constexpr uint64_t max_tar_extended_bytes = uint64_t{1} << 20;  // of one pax header or long name
inline constexpr size_t max_caption_bytes = size_t{1} << 20;     // one .txt
inline constexpr size_t max_problems_listed = 10;                // of one kind; the rest is counted
inline constexpr uint64_t max_bad_samples_in_a_row = 100;        // under on_error skip

}  // namespace t2i
