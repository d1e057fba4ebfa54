#include "core/kernel/winograd.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "core/kernel/winograd_tile.h"

namespace t2i {
namespace {

using namespace winograd;

constexpr int64_t most_tile_floats = 24 << 20;  // of one buffer of tiles; a larger batch goes through in several parts
constexpr int64_t cached_floats = 2 << 20;      // of the transformed kernels that are in use at a time

struct Shape {
  int64_t batch, in, out;
  Plane plane;
  int64_t tiles() const { return batch * plane.tiles(); }
  int64_t pixels() const { return plane.height * plane.width; }
  int64_t positions() const { return (plane.m + 2) * (plane.m + 2); }
};

int64_t block_of(const Shape& s, int64_t rows, int64_t width) {
  return std::clamp<int64_t>(cached_floats / (s.positions() * width) / 8 * 8, std::min<int64_t>(rows, 16), rows);
}

// Room for [n^2,rows,columns], each position a cache line further than it must be.
at::Tensor tiles_apart(const Shape& s, int64_t rows, int64_t columns, const at::Tensor& like) {
  const int64_t step = rows * columns + line;
  return at::empty({s.positions() * step}, like.options())
      .as_strided({s.positions(), rows, columns}, {step, columns, 1});
}

// [B,C,H,W] -> [n^2,C,B*tiles] by `map`, which is one of the two that go to tiles.
template <class Map>
at::Tensor planes_to_tiles(const Shape& s, const float* planes, int64_t channels, const at::Tensor& like, Map map) {
  at::Tensor tiles = tiles_apart(s, channels, s.tiles(), like);
  float* to = tiles.mutable_data_ptr<float>();
  at::parallel_for(0, s.batch * channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k)
      map(s.plane, planes + k * s.pixels(), to + (k % channels) * s.tiles() + k / channels * s.plane.tiles(),
          tiles.stride(0));
  });
  return tiles;
}

void forward_part(const Shape& s, const float* x, const at::Tensor& weight, const float* bias, float* y) {
  at::Tensor v = planes_to_tiles(s, x, s.in, weight, input_to_tiles);
  const float* kernels = weight.const_data_ptr<float>();
  const int64_t block = block_of(s, s.out, s.in);
  at::Tensor u_room = tiles_apart(s, block, s.in, weight),
             m_room = at::empty({s.positions() * block * s.tiles()}, weight.options());
  for (int64_t o = 0; o < s.out; o += block) {
    const int64_t n = std::min(block, s.out - o);
    at::Tensor u = u_room.narrow(1, 0, n),
               m = m_room.narrow(0, 0, s.positions() * n * s.tiles()).view({s.positions(), n, s.tiles()});
    float *u_data = u.mutable_data_ptr<float>(), *m_data = m.mutable_data_ptr<float>();
    at::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) {
      kernels_to_tiles(s.plane.m, kernels + (o + begin) * s.in * 9, (end - begin) * s.in, u_data + begin * s.in,
                       u.stride(0));
    });
    at::bmm_out(m, u, v);
    at::parallel_for(0, n * s.batch, 1, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t row = k / s.batch, b = k % s.batch;
        tiles_to_output(s.plane, m_data + row * s.tiles() + b * s.plane.tiles(), n * s.tiles(),
                        bias ? bias[o + row] : 0.0f, y + (b * s.out + o + row) * s.pixels());
      }
    });
  }
}

// grad += the gradient of the weight: m [n^2,O,T] times v^T [n^2,T,C], back from tiles to kernels.
void add_weight_gradient(const Shape& s, const at::Tensor& m, const at::Tensor& v, float* grad) {
  const int64_t block = block_of(s, s.out, s.in);
  at::Tensor room = at::empty({s.positions() * block * s.in}, m.options()), v_t = v.transpose(1, 2);
  for (int64_t o = 0; o < s.out; o += block) {
    const int64_t n = std::min(block, s.out - o);
    at::Tensor u = room.narrow(0, 0, s.positions() * n * s.in).view({s.positions(), n, s.in});
    at::bmm_out(u, m.narrow(1, o, n), v_t);
    const float* u_data = u.const_data_ptr<float>();
    at::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) {
      add_tiles_to_kernels(s.plane.m, u_data + begin * s.in, n * s.in, (end - begin) * s.in,
                           grad + (o + begin) * s.in * 9);
    });
  }
}

// The gradient of the input: u^T [n^2,C,O] times m [n^2,O,T], back from tiles to planes.
void input_gradient(const Shape& s, const at::Tensor& m, const at::Tensor& weight, float* grad_x) {
  const int64_t block = block_of(s, s.in, s.out);
  at::Tensor u_room = tiles_apart(s, s.out, block, m),
             v_room = at::empty({s.positions() * block * s.tiles()}, m.options());
  const float* kernels = weight.const_data_ptr<float>();
  for (int64_t c = 0; c < s.in; c += block) {
    const int64_t n = std::min(block, s.in - c);
    at::Tensor u = u_room.narrow(2, 0, n),
               v = v_room.narrow(0, 0, s.positions() * n * s.tiles()).view({s.positions(), n, s.tiles()});
    float *u_data = u.mutable_data_ptr<float>(), *v_data = v.mutable_data_ptr<float>();
    at::parallel_for(0, s.out, 1, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o)
        kernels_to_tiles(s.plane.m, kernels + (o * s.in + c) * 9, n, u_data + o * block, u.stride(0));
    });
    at::bmm_out(v, u.transpose(1, 2), m);
    at::parallel_for(0, n * s.batch, 1, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t row = k / s.batch, b = k % s.batch;
        tiles_to_input(s.plane, v_data + row * s.tiles() + b * s.plane.tiles(), n * s.tiles(),
                       grad_x + (b * s.in + c + row) * s.pixels());
      }
    });
  }
}

// Calls body(part of the batch, its first sample) so that no buffer of tiles grows beyond its measure.
template <class Body>
void in_parts(int64_t m, const at::Tensor& x, const at::Tensor& weight, Body body) {
  Shape s{x.size(0), x.size(1), weight.size(0), {x.size(2), x.size(3), m}};
  const int64_t a_sample = s.positions() * std::max(s.in, s.out) * s.plane.tiles();
  const int64_t samples = std::clamp<int64_t>(most_tile_floats / a_sample, 1, s.batch);
  for (int64_t b = 0; b < x.size(0); b += samples) {
    s.batch = std::min(samples, x.size(0) - b);
    body(s, b);
  }
}

}  // namespace

at::Tensor winograd_forward(int64_t m, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias) {
  at::Tensor y = at::empty({x.size(0), weight.size(0), x.size(2), x.size(3)}, x.options());
  in_parts(m, x, weight, [&](const Shape& s, int64_t first) {
    forward_part(s, x.const_data_ptr<float>() + first * s.in * s.pixels(), weight,
                 bias ? bias->const_data_ptr<float>() : nullptr,
                 y.mutable_data_ptr<float>() + first * s.out * s.pixels());
  });
  return y;
}

at::Tensor winograd_backward(int64_t m, const at::Tensor& g, const at::Tensor& x, const at::Tensor& weight,
                             at::Tensor grad_weight, bool wants_grad_x) {
  at::Tensor grad_x = wants_grad_x ? at::empty(x.sizes(), x.options()) : at::Tensor();
  in_parts(m, x, weight, [&](const Shape& s, int64_t first) {
    at::Tensor g_tiles =
        planes_to_tiles(s, g.const_data_ptr<float>() + first * s.out * s.pixels(), s.out, g, output_to_tiles);
    if (wants_grad_x) input_gradient(s, g_tiles, weight, grad_x.mutable_data_ptr<float>() + first * s.in * s.pixels());
    at::Tensor v = planes_to_tiles(s, x.const_data_ptr<float>() + first * s.in * s.pixels(), s.in, x, input_to_tiles);
    add_weight_gradient(s, g_tiles, v, grad_weight.mutable_data_ptr<float>());
  });
  return grad_x;
}

}  // namespace t2i
