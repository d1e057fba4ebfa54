#include "core/kernel/winograd_tile.h"

#include <algorithm>
#include <vector>

#include "core/kernel/winograd_maps.h"

// The maps are applied down the columns and then along the rows. Every inner loop runs over floats that lie beside each
// other, for the compiler to make vectors of (it is told -O3 for this file): columns of a row, then tiles of a row, for
// which a row is dealt out into m strands, strand k holding columns k, k + m, k + 2 m, ...
namespace t2i::winograd {
namespace {

// Rows of floats beside each other, zero at first.
struct Rows {
  std::vector<float> floats;
  int64_t length;
  Rows(int64_t count, int64_t length_) : floats(static_cast<size_t>(count * length_)), length(length_) {}
  float* operator[](int64_t i) { return floats.data() + i * length; }
};

// One plane's tiles, near at hand. Memory is read and written in pieces as long as a plane's tiles: a row of tiles at a
// time, in up to 36 places, is more than the processor looks ahead for (three times slower, measured at 64 x 64).
struct Room {
  int64_t count, step, positions;
  float* tiles;
  explicit Room(Plane p) : count(p.tiles()), step(p.tiles() + line), positions((p.m + 2) * (p.m + 2)) {
    thread_local std::vector<float> floats;
    floats.resize(std::max(floats.size(), static_cast<size_t>(positions * step)));
    tiles = floats.data();
  }
  void copy_to(float* to, int64_t to_step) const {
    for (int64_t p = 0; p < positions; ++p) std::copy_n(tiles + p * step, count, to + p * to_step);
  }
  void copy_from(const float* from, int64_t from_step) const {
    for (int64_t p = 0; p < positions; ++p) std::copy_n(from + p * from_step, count, tiles + p * step);
  }
};

// Tiles of K rows that begin at row m i - before, K columns likewise; Map takes K numbers to n.
template <class F, int K, int before, auto Map>
void to_tiles(Plane p, const float* plane, float* tiles, int64_t step) {
  const int64_t w = p.width, tw = p.tiles_w();
  Rows zeros(1, w), down(F::n, F::m * tw), strands(F::m, tw + 2);  // a strand has a zero at each end
  for (int64_t i = 0; i < p.tiles_h(); ++i) {
    const float* d[K];
    for (int64_t r = 0; r < K; ++r) {
      const int64_t y = F::m * i - before + r;
      d[r] = y < 0 || y >= p.height ? zeros[0] : plane + y * w;
    }
    float* v[F::n];
    for (int64_t r = 0; r < F::n; ++r) v[r] = down[r];
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
        s[k] = strands[column % F::m] + column / F::m;
      }
      for (int64_t k = 0; k < F::m; ++k) {
        float* strand = strands[k] + 1;
        for (int64_t j = 0; j < tw; ++j) strand[j] = v[r][F::m * j + k];
      }
      float* out = tiles + r * F::n * step + i * tw;
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
void from_tiles(Plane p, const float* tiles, int64_t step, float start, float* plane) {
  const int64_t w = p.width, tw = p.tiles_w();
  std::fill(plane, plane + p.height * w, start);
  Rows down(K * F::n, tw), strands(K, tw + 2), mixed(1, F::m * tw);
  float* row = mixed[0];
  for (int64_t i = 0; i < p.tiles_h(); ++i) {
    for (int64_t q = 0; q < F::n; ++q) {
      const float* t = tiles + q * step + i * tw;
      float* v[K];
      for (int64_t r = 0; r < K; ++r) v[r] = down[r * F::n + q];
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
      const float* v = down[r * F::n];
      float* s[K];
      for (int64_t k = 0; k < K; ++k) s[k] = strands[k] + 1;
      for (int64_t j = 0; j < tw; ++j) {
        float from[F::n], to[K];
        for (int q = 0; q < F::n; ++q) from[q] = v[q * tw + j];
        Map(from, to);
        for (int k = 0; k < K; ++k) s[k][j] = to[k];
      }
      for (int64_t k = 0; k < F::m; ++k) {
        const float* own = s[k + before];
        if (before && k == 0)
          for (int64_t j = 0; j < tw; ++j) row[F::m * j] = own[j] + s[K - 1][j - 1];
        else if (before && k == F::m - 1)
          for (int64_t j = 0; j < tw; ++j) row[F::m * j + k] = own[j] + s[0][j + 1];
        else
          for (int64_t j = 0; j < tw; ++j) row[F::m * j + k] = own[j];
      }
      float* to = plane + y * w;
      for (int64_t c = 0; c < w; ++c) to[c] += row[c];
    }
  }
}

constexpr int64_t at_once = 128;  // kernels whose nine numbers are laid side by side

template <class F>
void kernels_to_tiles_by(const float* kernels, int64_t count, float* tiles, int64_t step) {
  float g[9][at_once], down[F::n][3][at_once];
  for (int64_t begin = 0; begin < count; begin += at_once) {
    const int64_t n = std::min(at_once, count - begin);
    for (int64_t k = 0; k < n; ++k)
      for (int64_t e = 0; e < 9; ++e) g[e][k] = kernels[(begin + k) * 9 + e];
    for (int64_t q = 0; q < 3; ++q)
      for (int64_t k = 0; k < n; ++k) {
        float from[3] = {g[q][k], g[3 + q][k], g[6 + q][k]}, to[F::n];
        F::kernel(from, to);
        for (int r = 0; r < F::n; ++r) down[r][q][k] = to[r];
      }
    for (int64_t r = 0; r < F::n; ++r) {
      float* out = tiles + r * F::n * step + begin;
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
    const int64_t n = std::min(at_once, count - begin);
    for (int64_t q = 0; q < F::n; ++q) {
      const float* t = tiles + q * step + begin;
      for (int64_t k = 0; k < n; ++k) {
        float from[F::n], to[3];
        for (int r = 0; r < F::n; ++r) from[r] = t[r * F::n * step + k];
        F::kernel_transposed(from, to);
        for (int r = 0; r < 3; ++r) down[r][q][k] = to[r];
      }
    }
    for (int64_t r = 0; r < 3; ++r)
      for (int64_t k = 0; k < n; ++k) {
        float from[F::n], to[3];
        for (int q = 0; q < F::n; ++q) from[q] = down[r][q][k];
        F::kernel_transposed(from, to);
        for (int q = 0; q < 3; ++q) g[3 * r + q][k] = to[q];
      }
    for (int64_t k = 0; k < n; ++k)
      for (int64_t e = 0; e < 9; ++e) kernels[(begin + k) * 9 + e] += g[e][k];
  }
}

}  // namespace

void input_to_tiles(Plane p, const float* x, float* tiles, int64_t step) {
  Room room(p);
  p.m == 2 ? to_tiles<F2, 4, 1, F2::in>(p, x, room.tiles, room.step)
           : to_tiles<F4, 6, 1, F4::in>(p, x, room.tiles, room.step);
  room.copy_to(tiles, step);
}
void tiles_to_input(Plane p, const float* tiles, int64_t step, float* x) {
  Room room(p);
  room.copy_from(tiles, step);
  p.m == 2 ? from_tiles<F2, 4, 1, F2::in_transposed>(p, room.tiles, room.step, 0, x)
           : from_tiles<F4, 6, 1, F4::in_transposed>(p, room.tiles, room.step, 0, x);
}
void tiles_to_output(Plane p, const float* tiles, int64_t step, float bias, float* y) {
  Room room(p);
  room.copy_from(tiles, step);
  p.m == 2 ? from_tiles<F2, 2, 0, F2::out>(p, room.tiles, room.step, bias, y)
           : from_tiles<F4, 4, 0, F4::out>(p, room.tiles, room.step, bias, y);
}
void output_to_tiles(Plane p, const float* y, float* tiles, int64_t step) {
  Room room(p);
  p.m == 2 ? to_tiles<F2, 2, 0, F2::out_transposed>(p, y, room.tiles, room.step)
           : to_tiles<F4, 4, 0, F4::out_transposed>(p, y, room.tiles, room.step);
  room.copy_to(tiles, step);
}
void kernels_to_tiles(int64_t m, const float* kernels, int64_t count, float* tiles, int64_t step) {
  m == 2 ? kernels_to_tiles_by<F2>(kernels, count, tiles, step) : kernels_to_tiles_by<F4>(kernels, count, tiles, step);
}
void add_tiles_to_kernels(int64_t m, const float* tiles, int64_t step, int64_t count, float* kernels) {
  m == 2 ? add_tiles_to_kernels_by<F2>(tiles, step, count, kernels)
         : add_tiles_to_kernels_by<F4>(tiles, step, count, kernels);
}

}  // namespace t2i::winograd
