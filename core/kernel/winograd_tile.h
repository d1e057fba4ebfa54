// The linear maps of Winograd's F(m x m, 3 x 3) over whole planes, m = 2 or 4. Tile (i,j) of a plane [H,W] reads rows
// m i - 1 .. m i + m and columns m j - 1 .. m j + m (zeros outside) and makes m x m outputs from row m i, column m j
// on. The (m+2)^2 numbers of a tile lie `step` floats apart, tiles of a row beside each other: position p of tile (i,j)
// is at p * step + i * tiles_w + j.
#pragma once
#include <cstdint>

namespace t2i::winograd {

// Floats of a cache line. Let `step` be a multiple of 1024 no more than it must: such addresses share one place in the
// cache, and the positions of a tile drive each other out. A line more helps.
constexpr int64_t line = 16;

struct Plane {
  int64_t height, width, m, lanes = 1;
  int64_t tiles_h() const { return (height + m - 1) / m; }
  int64_t tiles_w() const { return (width + m - 1) / m; }
  int64_t tiles() const { return tiles_h() * tiles_w() * lanes; }
  int64_t pixels() const { return height * width * lanes; }
};

// On x86-64 the functions here are compiled for processors with AVX2: ask has_wide_floats() before calling them.

void input_to_tiles(Plane p, const float* x, float* tiles, int64_t step);  // B^T d B
void tiles_to_input(Plane p, const float* tiles, int64_t step, float* x);  // its transpose; x is overwritten
void tiles_to_output(Plane p, const float* tiles, int64_t step, float bias, float* y);  // A^T m A + bias
void output_to_tiles(Plane p, const float* y, float* tiles, int64_t step);              // its transpose

// `count` kernels of nine floats, one after another <-> (m+2)^2 rows of `count` floats, `step` apart.
void kernels_to_tiles(int64_t m, const float* kernels, int64_t count, float* tiles, int64_t step);      // G g G^T
void add_tiles_to_kernels(int64_t m, const float* tiles, int64_t step, int64_t count, float* kernels);  // += G^T u G

// Pictures [lanes, pixels] -> [pixels, lanes], for pixels begin..end-1, and back.
void into_lanes(const float* pictures, int64_t lanes, int64_t pixels, int64_t begin, int64_t end, float* out);
void out_of_lanes(const float* in, int64_t lanes, int64_t pixels, int64_t begin, int64_t end, float* pictures);

// At least so many floats of this thread's own, not initialised; the same memory at every call.
float* thread_scratch(int64_t floats);

}  // namespace t2i::winograd
