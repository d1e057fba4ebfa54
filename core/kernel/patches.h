// Patches of an image as a matrix and back (im2col, col2im; Chellapilla et al. 2006), float32 on the CPU.
#pragma once
#include <cstdint>

namespace t2i {

struct PatchShape {
  int64_t channels, height, width;  // of the image
  int64_t kernel_h, kernel_w, stride, padding;
  int64_t out_h() const { return (height + 2 * padding - kernel_h) / stride + 1; }
  int64_t out_w() const { return (width + 2 * padding - kernel_w) / stride + 1; }
  int64_t rows() const { return channels * kernel_h * kernel_w; }
};

// image [C,H,W] -> columns [C*kh*kw, out rows first_y..end_y times out_w], each row `row_stride` floats from the next.
void unfold_patches(const PatchShape& shape, const float* image, int64_t first_y, int64_t end_y, float* columns,
                    int64_t row_stride);

// The transpose of it: every patch is added to the image it came from. `image` is overwritten.
void fold_patches(const PatchShape& shape, const float* columns, int64_t row_stride, float* image);

}  // namespace t2i
