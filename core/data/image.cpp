#include "core/data/image.h"

#include <algorithm>
#include <utility>

namespace t2i {
namespace {

void swap_pixels(uint8_t* a, uint8_t* b) { std::swap_ranges(a, a + 3, b); }

void mirror(Image& image) {
  for (int y = 0; y < image.height; ++y) {
    uint8_t *left = image.row(y), *right = left + 3 * (image.width - 1);
    for (; left < right; left += 3, right -= 3) swap_pixels(left, right);
  }
}

void upside_down(Image& image) {
  for (int top = 0, bottom = image.height - 1; top < bottom; ++top, --bottom)
    std::swap_ranges(image.row(top), image.row(top) + 3 * image.width, image.row(bottom));
}

// Rows become columns. In tiles, so that both sides stay in the cache.
void transpose(Image& image) {
  constexpr int tile = 32;
  Image out;
  out.width = image.height, out.height = image.width;
  out.rgb.resize(image.rgb.size());
  out.notes = std::move(image.notes);
  for (int y0 = 0; y0 < image.height; y0 += tile)
    for (int x0 = 0; x0 < image.width; x0 += tile)
      for (int y = y0; y < std::min(y0 + tile, image.height); ++y)
        for (int x = x0; x < std::min(x0 + tile, image.width); ++x)
          std::copy_n(image.row(y) + 3 * x, 3, out.row(x) + 3 * y);
  image = std::move(out);
}

}  // namespace

void turn_upright(Image& image, int exif) {
  if (exif < 2 || exif > 8) return;
  if (exif >= 5) transpose(image);
  // What is left to do after the transposition (5 … 8) or without one (2 … 4).
  if (exif == 2 || exif == 3 || exif == 6 || exif == 7) mirror(image);
  if (exif == 3 || exif == 4 || exif == 7 || exif == 8) upside_down(image);
}

}  // namespace t2i
