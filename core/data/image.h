// A decoded picture: 8-bit RGB, upright, rows from the top, no padding.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace t2i {

struct Image {
  int width = 0, height = 0;  // pixels, after turning it upright
  std::vector<uint8_t> rgb;   // height × width × 3
  std::vector<std::string>
      notes;  // what was converted, one phrase each ("alpha channel dropped"); equal for equal causes

  const uint8_t* row(int y) const { return rgb.data() + static_cast<size_t>(y) * static_cast<size_t>(width) * 3; }
  uint8_t* row(int y) { return rgb.data() + static_cast<size_t>(y) * static_cast<size_t>(width) * 3; }
};

// What orientation `exif` (1…8, the EXIF tag 0x0112) asks for, done: 1 and anything out of range leave it as it is.
void turn_upright(Image& image, int exif);

}  // namespace t2i
