#include "core/kernel/patches.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>

#include "core/base/dry_run.h"

namespace t2i {

// The outputs x whose input column x * stride - padding + kx lies inside the image: [first, end).
static std::pair<int64_t, int64_t> inside(const PatchShape& s, int64_t kx) {
  int64_t shift = s.padding - kx, out_w = s.out_w();
  int64_t first = shift > 0 ? (shift + s.stride - 1) / s.stride : 0;
  int64_t last = s.width - 1 + shift;  // in input columns
  int64_t end = last < 0 ? 0 : last / s.stride + 1;
  first = std::min(first, out_w);
  return {first, std::clamp(end, first, out_w)};
}

void unfold_patches(const PatchShape& s, const float* image, int64_t first_y, int64_t end_y, float* columns,
                    int64_t row_stride) {
  const int64_t out_w = s.out_w(), taps = s.kernel_h * s.kernel_w;
  if (in_dry_run()) return;
  at::parallel_for(0, s.rows(), 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t c = row / taps, ky = row % taps / s.kernel_w, kx = row % s.kernel_w;
      auto [x0, x1] = inside(s, kx);
      float* to = columns + row * row_stride;
      for (int64_t y = first_y; y < end_y; ++y, to += out_w) {
        const int64_t in_y = y * s.stride - s.padding + ky;
        if (in_y < 0 || in_y >= s.height) {
          std::fill(to, to + out_w, 0.0f);
          continue;
        }
        const float* from = image + (c * s.height + in_y) * s.width + kx - s.padding;
        std::fill(to, to + x0, 0.0f);
        if (s.stride == 1) std::copy(from + x0, from + x1, to + x0);
        else
          for (int64_t x = x0; x < x1; ++x) to[x] = from[x * s.stride];
        std::fill(to + x1, to + out_w, 0.0f);
      }
    }
  });
}

void fold_patches(const PatchShape& s, const float* columns, int64_t row_stride, float* image) {
  const int64_t out_h = s.out_h(), out_w = s.out_w(), taps = s.kernel_h * s.kernel_w;
  if (in_dry_run()) return;
  at::parallel_for(0, s.channels, 4, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      float* plane = image + c * s.height * s.width;
      std::fill(plane, plane + s.height * s.width, 0.0f);
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t ky = tap / s.kernel_w, kx = tap % s.kernel_w;
        auto [x0, x1] = inside(s, kx);
        const float* from = columns + (c * taps + tap) * row_stride;
        for (int64_t y = 0; y < out_h; ++y, from += out_w) {
          const int64_t in_y = y * s.stride - s.padding + ky;
          if (in_y < 0 || in_y >= s.height) continue;
          float* to = plane + in_y * s.width + kx - s.padding;
          for (int64_t x = x0; x < x1; ++x) to[x * s.stride] += from[x];
        }
      }
    }
  });
}

}  // namespace t2i
