#include "core/kernel/winograd_tile.h"

#include <cstring>

#include "core/kernel/winograd_maps.h"

// The maps are applied down the columns and then along the rows. Every inner loop runs over floats that lie beside each
// other, for the compiler to make vectors of: columns of a row, then tiles of a row, for which a row is dealt out into
// m strands, strand k holding columns k, k + m, k + 2 m, ...; with lanes, pictures. CMake compiles this file for AVX2.
// So it uses no function of the C++ library: the linker might choose this file's copy of one for callers that never
// asked whether the processor has AVX2.
namespace t2i::winograd {
namespace {

// Pieces of this thread's scratch memory, all given back at once.
struct Scratch {
  float* next;
  explicit Scratch(Plane p)
      : next(thread_scratch((p.m + 2) * (p.m + 2) * (p.tiles() + line) + 64 * (p.width + p.lanes + 16))) {}
  float* take(int64_t floats) {
    float* at = next;
    next += floats;
    return at;
  }
  float* zeros(int64_t floats) {
    float* at = take(floats);
    for (int64_t k = 0; k < floats; ++k) at[k] = 0;
    return at;
  }
};

// Tiles of K rows that begin at row m i - before, K columns likewise; Map takes K numbers to n.
template <class F, int K, int before, auto Map>
void to_tiles(Plane p, Scratch s0, const float* plane, float* tiles, int64_t step) {
  const int64_t w = p.width, tw = p.tiles_w(), across = F::m * tw;
  const float* outside = s0.zeros(w);
  float *down = s0.zeros(F::n * across), *strands = s0.zeros(F::m * (tw + 2));  // a strand has a zero at each end
  for (int64_t i = 0; i < p.tiles_h(); ++i) {
    const float* d[K];
    for (int64_t r = 0; r < K; ++r) {
      const int64_t y = F::m * i - before + r;
      d[r] = y < 0 || y >= p.height ? outside : plane + y * w;
    }
    float* v[F::n];
    for (int64_t r = 0; r < F::n; ++r) v[r] = down + r * across;
#pragma GCC ivdep
    for (int64_t c = 0; c < w; ++c) {
      float from[K], to[F::n];
      for (int r = 0; r < K; ++r) from[r] = d[r][c];
      Map(from, to);
      for (int r = 0; r < F::n; ++r) v[r][c] = to[r];
    }
    for (int64_t r = 0; r < F::n; ++r) {
      const float* s[K];
      for (int64_t k = 0; k < K; ++k) {  // column m j - before + k: strand and place in it
        const int64_t column = F::m - before + k;
        s[k] = strands + column % F::m * (tw + 2) + column / F::m;
      }
      for (int64_t k = 0; k < F::m; ++k) {
        float* strand = strands + k * (tw + 2) + 1;
#pragma GCC ivdep
        for (int64_t j = 0; j < tw; ++j) strand[j] = v[r][F::m * j + k];
      }
      float* out = tiles + r * F::n * step + i * tw;
#pragma GCC ivdep
      for (int64_t j = 0; j < tw; ++j) {
        float from[K], to[F::n];
        for (int k = 0; k < K; ++k) from[k] = s[k][j];
        Map(from, to);
        for (int k = 0; k < F::n; ++k) out[k * step + j] = to[k];
      }
    }
  }
}

// The other way: K rows and columns of every tile, those before the tile's own and after them shared with its
// neighbours.
template <class F, int K, int before, auto Map>
void from_tiles(Plane p, Scratch s0, const float* tiles, int64_t step, float start, float* plane) {
  const int64_t w = p.width, tw = p.tiles_w();
  for (int64_t k = 0; k < p.pixels(); ++k) plane[k] = start;
  float *down = s0.take(K * F::n * tw), *strands = s0.zeros(K * (tw + 2)), *row = s0.take(F::m * tw);
  for (int64_t i = 0; i < p.tiles_h(); ++i) {
    for (int64_t q = 0; q < F::n; ++q) {
      const float* t = tiles + q * step + i * tw;
      float* v[K];
      for (int64_t r = 0; r < K; ++r) v[r] = down + (r * F::n + q) * tw;
#pragma GCC ivdep
      for (int64_t j = 0; j < tw; ++j) {
        float from[F::n], to[K];
        for (int r = 0; r < F::n; ++r) from[r] = t[r * F::n * step + j];
        Map(from, to);
        for (int r = 0; r < K; ++r) v[r][j] = to[r];
      }
    }
    for (int64_t r = 0; r < K; ++r) {
      const int64_t y = F::m * i - before + r;
      if (y < 0 || y >= p.height) continue;
      const float* v = down + r * F::n * tw;
      float* s[K];
      for (int64_t k = 0; k < K; ++k) s[k] = strands + k * (tw + 2) + 1;
#pragma GCC ivdep
      for (int64_t j = 0; j < tw; ++j) {
        float from[F::n], to[K];
        for (int q = 0; q < F::n; ++q) from[q] = v[q * tw + j];
        Map(from, to);
        for (int k = 0; k < K; ++k) s[k][j] = to[k];
      }
      for (int64_t k = 0; k < F::m; ++k) {
        const float* own = s[k + before];
        if (before && k == 0)
#pragma GCC ivdep
          for (int64_t j = 0; j < tw; ++j) row[F::m * j] = own[j] + s[K - 1][j - 1];
        else if (before && k == F::m - 1)
#pragma GCC ivdep
          for (int64_t j = 0; j < tw; ++j) row[F::m * j + k] = own[j] + s[0][j + 1];
        else
#pragma GCC ivdep
          for (int64_t j = 0; j < tw; ++j) row[F::m * j + k] = own[j];
      }
      float* to = plane + y * w;
#pragma GCC ivdep
      for (int64_t c = 0; c < w; ++c) to[c] += row[c];
    }
  }
}

// The same with lanes: along every inner loop lie the pictures.
template <class F, int K, int before, auto Map>
void to_tiles_in_lanes(Plane p, const float* plane, float* tiles, int64_t step) {
  const int64_t lanes = p.lanes, tw = p.tiles_w();
  Scratch scratch(p);
  const float* zeros = scratch.zeros(lanes);
  float* down = scratch.take(F::n * K * lanes);
  for (int64_t tile = 0; tile < p.tiles_h() * tw; ++tile) {
    const int64_t top = tile / tw * F::m - before, left = tile % tw * F::m - before;
    for (int64_t k = 0; k < K; ++k) {
      const float* d[K];
      float* v[F::n];
      for (int64_t r = 0; r < K; ++r) {
        const int64_t y = top + r, x = left + k;
        const bool outside = y < 0 || y >= p.height || x < 0 || x >= p.width;
        d[r] = outside ? zeros : plane + (y * p.width + x) * lanes;
      }
      for (int64_t r = 0; r < F::n; ++r) v[r] = down + (r * K + k) * lanes;
#pragma GCC ivdep
      for (int64_t b = 0; b < lanes; ++b) {
        float from[K], to[F::n];
        for (int r = 0; r < K; ++r) from[r] = d[r][b];
        Map(from, to);
        for (int r = 0; r < F::n; ++r) v[r][b] = to[r];
      }
    }
    for (int64_t r = 0; r < F::n; ++r) {
      const float* v = down + r * K * lanes;
      float* out = tiles + r * F::n * step + tile * lanes;
#pragma GCC ivdep
      for (int64_t b = 0; b < lanes; ++b) {
        float from[K], to[F::n];
        for (int k = 0; k < K; ++k) from[k] = v[k * lanes + b];
        Map(from, to);
        for (int k = 0; k < F::n; ++k) out[k * step + b] = to[k];
      }
    }
  }
}

template <class F, int K, int before, auto Map>
void from_tiles_in_lanes(Plane p, const float* tiles, int64_t step, float start, float* plane) {
  const int64_t lanes = p.lanes, tw = p.tiles_w();
  for (int64_t k = 0; k < p.pixels(); ++k) plane[k] = start;
  Scratch scratch(p);
  float *down = scratch.take(K * F::n * lanes), *nowhere = scratch.take(K * lanes);
  for (int64_t tile = 0; tile < p.tiles_h() * tw; ++tile) {
    const int64_t top = tile / tw * F::m - before, left = tile % tw * F::m - before;
    for (int64_t q = 0; q < F::n; ++q) {
      const float* t = tiles + q * step + tile * lanes;
      float* v[K];
      for (int64_t r = 0; r < K; ++r) v[r] = down + (r * F::n + q) * lanes;
#pragma GCC ivdep
      for (int64_t b = 0; b < lanes; ++b) {
        float from[F::n], to[K];
        for (int r = 0; r < F::n; ++r) from[r] = t[r * F::n * step + b];
        Map(from, to);
        for (int r = 0; r < K; ++r) v[r][b] = to[r];
      }
    }
    for (int64_t r = 0; r < K; ++r) {
      const int64_t y = top + r;
      if (y < 0 || y >= p.height) continue;
      const float* v = down + r * F::n * lanes;
      float* pixel[K];
      for (int64_t k = 0; k < K; ++k)
        pixel[k] = left + k < 0 || left + k >= p.width ? nowhere + k * lanes : plane + (y * p.width + left + k) * lanes;
#pragma GCC ivdep
      for (int64_t b = 0; b < lanes; ++b) {
        float from[F::n], to[K];
        for (int q = 0; q < F::n; ++q) from[q] = v[q * lanes + b];
        Map(from, to);
        for (int k = 0; k < K; ++k) pixel[k][b] += to[k];
      }
    }
  }
}

constexpr int64_t at_once = 128;  // kernels whose nine numbers are laid side by side

template <class F>
void kernels_to_tiles_by(const float* kernels, int64_t count, float* tiles, int64_t step) {
  float g[9][at_once], down[F::n][3][at_once];
  for (int64_t begin = 0; begin < count; begin += at_once) {
    const int64_t n = count - begin < at_once ? count - begin : at_once;
#pragma GCC ivdep
    for (int64_t k = 0; k < n; ++k)
      for (int64_t e = 0; e < 9; ++e) g[e][k] = kernels[(begin + k) * 9 + e];
    for (int64_t q = 0; q < 3; ++q)
#pragma GCC ivdep
      for (int64_t k = 0; k < n; ++k) {
        float from[3] = {g[q][k], g[3 + q][k], g[6 + q][k]}, to[F::n];
        F::kernel(from, to);
        for (int r = 0; r < F::n; ++r) down[r][q][k] = to[r];
      }
    for (int64_t r = 0; r < F::n; ++r) {
      float* out = tiles + r * F::n * step + begin;
#pragma GCC ivdep
      for (int64_t k = 0; k < n; ++k) {
        float from[3] = {down[r][0][k], down[r][1][k], down[r][2][k]}, to[F::n];
        F::kernel(from, to);
        for (int q = 0; q < F::n; ++q) out[q * step + k] = to[q];
      }
    }
  }
}

template <class F>
void add_tiles_to_kernels_by(const float* tiles, int64_t step, int64_t count, float* kernels) {
  float g[9][at_once], down[3][F::n][at_once];
  for (int64_t begin = 0; begin < count; begin += at_once) {
    const int64_t n = count - begin < at_once ? count - begin : at_once;
    for (int64_t q = 0; q < F::n; ++q) {
      const float* t = tiles + q * step + begin;
#pragma GCC ivdep
      for (int64_t k = 0; k < n; ++k) {
        float from[F::n], to[3];
        for (int r = 0; r < F::n; ++r) from[r] = t[r * F::n * step + k];
        F::kernel_transposed(from, to);
        for (int r = 0; r < 3; ++r) down[r][q][k] = to[r];
      }
    }
    for (int64_t r = 0; r < 3; ++r)
#pragma GCC ivdep
      for (int64_t k = 0; k < n; ++k) {
        float from[F::n], to[3];
        for (int q = 0; q < F::n; ++q) from[q] = down[r][q][k];
        F::kernel_transposed(from, to);
        for (int q = 0; q < 3; ++q) g[3 * r + q][k] = to[q];
      }
#pragma GCC ivdep
    for (int64_t k = 0; k < n; ++k)
      for (int64_t e = 0; e < 9; ++e) kernels[(begin + k) * 9 + e] += g[e][k];
  }
}

}  // namespace

// One plane's tiles are gathered near at hand: memory is read and written in pieces as long as a plane's tiles. A row
// of tiles at a time, in up to 36 places, is more than the processor looks ahead for (three times slower, measured at
// 64 x 64).
template <class F, int K, int before, auto Map>
static void planes_to(Plane p, const float* plane, float* tiles, int64_t step) {
  if (p.lanes > 1) return to_tiles_in_lanes<F, K, before, Map>(p, plane, tiles, step);
  Scratch scratch(p);
  const int64_t count = p.tiles(), near_step = count + line;
  float* near = scratch.take(F::n * F::n * near_step);
  to_tiles<F, K, before, Map>(p, scratch, plane, near, near_step);
  for (int64_t k = 0; k < F::n * F::n; ++k)
    std::memcpy(tiles + k * step, near + k * near_step, static_cast<size_t>(count) * sizeof(float));
}

template <class F, int K, int before, auto Map>
static void planes_from(Plane p, const float* tiles, int64_t step, float start, float* plane) {
  if (p.lanes > 1) return from_tiles_in_lanes<F, K, before, Map>(p, tiles, step, start, plane);
  Scratch scratch(p);
  const int64_t count = p.tiles(), near_step = count + line;
  float* near = scratch.take(F::n * F::n * near_step);
  for (int64_t k = 0; k < F::n * F::n; ++k)
    std::memcpy(near + k * near_step, tiles + k * step, static_cast<size_t>(count) * sizeof(float));
  from_tiles<F, K, before, Map>(p, scratch, near, near_step, start, plane);
}

void input_to_tiles(Plane p, const float* x, float* tiles, int64_t step) {
  p.m == 2 ? planes_to<F2, 4, 1, F2::in>(p, x, tiles, step) : planes_to<F4, 6, 1, F4::in>(p, x, tiles, step);
}
void tiles_to_input(Plane p, const float* tiles, int64_t step, float* x) {
  p.m == 2 ? planes_from<F2, 4, 1, F2::in_transposed>(p, tiles, step, 0, x)
           : planes_from<F4, 6, 1, F4::in_transposed>(p, tiles, step, 0, x);
}
void tiles_to_output(Plane p, const float* tiles, int64_t step, float bias, float* y) {
  p.m == 2 ? planes_from<F2, 2, 0, F2::out>(p, tiles, step, bias, y)
           : planes_from<F4, 4, 0, F4::out>(p, tiles, step, bias, y);
}
void output_to_tiles(Plane p, const float* y, float* tiles, int64_t step) {
  p.m == 2 ? planes_to<F2, 2, 0, F2::out_transposed>(p, y, tiles, step)
           : planes_to<F4, 4, 0, F4::out_transposed>(p, y, tiles, step);
}
void kernels_to_tiles(int64_t m, const float* kernels, int64_t count, float* tiles, int64_t step) {
  m == 2 ? kernels_to_tiles_by<F2>(kernels, count, tiles, step) : kernels_to_tiles_by<F4>(kernels, count, tiles, step);
}
void add_tiles_to_kernels(int64_t m, const float* tiles, int64_t step, int64_t count, float* kernels) {
  m == 2 ? add_tiles_to_kernels_by<F2>(tiles, step, count, kernels)
         : add_tiles_to_kernels_by<F4>(tiles, step, count, kernels);
}

void into_lanes(const float* pictures, int64_t lanes, int64_t pixels, int64_t begin, int64_t end, float* out) {
  constexpr int64_t side = 16;  // pixels whose pictures are read at a time: a cache line of each
  for (int64_t first = begin; first < end; first += side)
    for (int64_t b = 0; b < lanes; ++b)
      for (int64_t k = first; k < first + side && k < end; ++k) out[k * lanes + b] = pictures[b * pixels + k];
}

void out_of_lanes(const float* in, int64_t lanes, int64_t pixels, int64_t begin, int64_t end, float* pictures) {
  constexpr int64_t side = 16;
  for (int64_t first = begin; first < end; first += side)
    for (int64_t b = 0; b < lanes; ++b)
      for (int64_t k = first; k < first + side && k < end; ++k) pictures[b * pixels + k] = in[k * lanes + b];
}

}  // namespace t2i::winograd
