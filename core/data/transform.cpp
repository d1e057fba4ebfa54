#include "core/data/transform.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace t2i {
namespace {

// One of 0 … last with equal probability: element `element` of the key's draws.
int draw_up_to(int last, const DrawKey& key, size_t element) {
  float units[4];
  philox_uniform(key, units);
  auto place = static_cast<int>(static_cast<double>(units[element]) * (static_cast<double>(last) + 1));
  return std::min(place, last);
}

// Half of the room, halves to the even number, as Python's round() does for torchvision's CenterCrop.
int centred(int room) {
  int half = room / 2;
  return room % 2 == 0 ? half : half + (half & 1);
}

// −1…1 for every byte, by the float steps of ToTensor and Normalize(0.5, 0.5).
std::array<float, 256> make_levels() {
  std::array<float, 256> levels{};
  for (int i = 0; i < 256; ++i) levels[static_cast<size_t>(i)] = (static_cast<float>(i) / 255.0f - 0.5f) / 0.5f;
  return levels;
}

}  // namespace

Geometry derive_geometry(const TransformOptions& options, int width, int height, const DrawKey& key) {
  Geometry geometry;
  geometry.original_width = width, geometry.original_height = height;
  geometry.width = options.width, geometry.height = options.height;
  int64_t w = width, h = height, target_w = options.width, target_h = options.height;
  if (w * target_h <= h * target_w) {  // narrower than the target: its width decides
    geometry.resized_width = options.width;
    geometry.resized_height = static_cast<int>(std::max(target_h, target_w * h / w));
  } else {
    geometry.resized_height = options.height;
    geometry.resized_width = static_cast<int>(std::max(target_w, target_h * w / h));
  }
  int room_down = geometry.resized_height - geometry.height, room_across = geometry.resized_width - geometry.width;
  if (options.center_crop) {
    geometry.crop_top = centred(room_down), geometry.crop_left = centred(room_across);
  } else {
    DrawKey crop = key;
    crop.stream = stream_id("crop");
    geometry.crop_top = draw_up_to(room_down, crop, 0), geometry.crop_left = draw_up_to(room_across, crop, 1);
  }
  if (options.random_flip) {
    DrawKey flip = key;
    flip.stream = stream_id("flip");
    geometry.flip = philox_uniform(flip) < 0.5f;
  }
  return geometry;
}

FloatImage apply_geometry(const Image& image, const Geometry& geometry, Filter filter) {
  static const std::array<float, 256> levels = make_levels();
  Image pixels = resize_window(image, geometry.resized_width, geometry.resized_height, filter, geometry.crop_top,
                               geometry.crop_left, geometry.width, geometry.height);
  FloatImage out;
  out.width = geometry.width, out.height = geometry.height;
  size_t width = static_cast<size_t>(out.width), plane = width * static_cast<size_t>(out.height);
  out.chw.resize(plane * 3);
  for (int y = 0; y < out.height; ++y) {
    const uint8_t* in = pixels.row(y);
    float* row = out.chw.data() + static_cast<size_t>(y) * width;
    for (size_t x = 0; x < width; ++x) {
      size_t to = geometry.flip ? width - 1 - x : x;
      for (size_t c = 0; c < 3; ++c) row[c * plane + to] = levels[in[3 * x + c]];
    }
  }
  return out;
}

}  // namespace t2i
