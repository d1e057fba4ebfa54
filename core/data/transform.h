// Pixels → what a model is trained on: resized so that it covers the target, cropped, perhaps mirrored, in −1…1.
//
// The resize is Pillow's, bit for bit: an antialiased separable filter in fixed point. The geometry of a sample is
// decided once, as a pure function, and then applied to every image of the sample, so a pair stays a pair.
#pragma once
#include <cstdint>
#include <vector>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "core/data/image.h"

namespace t2i {

enum class Filter { bilinear, bicubic, lanczos };

struct TransformOptions {
  int width = 512, height = 512;  // of the result, pixels
  bool center_crop = false;       // otherwise drawn from the stream "crop"
  bool random_flip = false;       // mirrored left-right with probability 1/2, drawn from the stream "flip"
  Filter filter = Filter::lanczos;
};

// How one sample got from its file to its tensor. Models that are conditioned on it (original size, crop) read it here.
struct Geometry {
  int original_width = 0, original_height = 0;  // of the file, upright
  int resized_width = 0, resized_height = 0;    // the whole image after resizing; covers the target
  int crop_top = 0, crop_left = 0;              // of the target within the resized image, before mirroring
  int width = 0, height = 0;                    // the target
  bool flip = false;

  bool operator==(const Geometry&) const = default;
};

// A picture as floats, channels first: chw[(c·height + y)·width + x] in −1…1, channels red, green, blue.
struct FloatImage {
  int height = 0, width = 0;
  std::vector<float> chw;
};

// The geometry of a sample whose image is width × height: the smaller of the two scales that cover the target, so that
// for a square target the short side becomes the resolution (the long side is rounded down, as torchvision does), then
// the crop, in the centre or at a place drawn uniformly. `key` says who draws; its stream is set here.
Geometry derive_geometry(const TransformOptions& options, int width, int height, const DrawKey& key);

// The whole of `image` resized to width × height, equal to PIL.Image.resize. Needs positive sizes.
Image resize(const Image& image, int width, int height, Filter filter);

// resize(), of which only the rectangle at (top, left) is computed: the same pixels as resizing and then cropping.
Image resize_window(const Image& image, int width, int height, Filter filter, int top, int left, int window_width,
                    int window_height);

// The sample's tensor. `image` may have another size than the geometry's original: it is then resized all the same.
FloatImage apply_geometry(const Image& image, const Geometry& geometry, Filter filter);

}  // namespace t2i
