#include "core/kernel/winograd.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "core/base/dry_run.h"
#include "core/kernel/processor.h"
#include "core/kernel/winograd_tile.h"

namespace t2i {
namespace {

using namespace winograd;

constexpr int64_t most_tile_floats = 24 << 20;  // of one buffer of tiles; a larger batch goes through in several parts
constexpr int64_t cached_floats = 2 << 20;      // of the transformed kernels that are in use at a time

constexpr int64_t most_short = 16;  // rows shorter than this do not fill vectors: pictures go in lanes
constexpr int64_t enough_lanes = 8;

// `groups` times `plane.lanes` pictures: [B,C,H,W], or [C,H,W,B] in lanes.
struct Shape {
  int64_t groups, in, out;
  Plane plane;
  int64_t tiles() const { return groups * plane.tiles(); }
  int64_t positions() const { return (plane.m + 2) * (plane.m + 2); }
};

// body(begin, end) for parts of 0 … n, where there is anything to compute.
template <class Body>
void in_parallel(int64_t n, int64_t grain, Body body) {
  if (!in_dry_run()) at::parallel_for(0, n, grain, body);
}

int64_t block_of(const Shape& s, int64_t rows, int64_t width) {
  return std::clamp<int64_t>(cached_floats / (s.positions() * width) / 8 * 8, std::min<int64_t>(rows, 16), rows);
}

// Room for [n^2,rows,columns], each position a cache line further than it must be.
at::Tensor tiles_apart(const Shape& s, int64_t rows, int64_t columns, const at::Tensor& like) {
  const int64_t step = rows * columns + line;
  return at::empty({s.positions() * step}, like.options())
      .as_strided({s.positions(), rows, columns}, {step, columns, 1});
}

// Pictures -> [n^2,C,tiles] by `map`, which is one of the two that go to tiles.
template <class Map>
at::Tensor planes_to_tiles(const Shape& s, const float* planes, int64_t channels, const at::Tensor& like, Map map) {
  at::Tensor tiles = tiles_apart(s, channels, s.tiles(), like);
  float* to = tiles.mutable_data_ptr<float>();
  in_parallel(s.groups * channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k)
      map(s.plane, planes + k * s.plane.pixels(), to + (k % channels) * s.tiles() + k / channels * s.plane.tiles(),
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
    in_parallel(n, 1, [&](int64_t begin, int64_t end) {
      kernels_to_tiles(s.plane.m, kernels + (o + begin) * s.in * 9, (end - begin) * s.in, u_data + begin * s.in,
                       u.stride(0));
    });
    at::bmm_out(m, u, v);
    in_parallel(n * s.groups, 1, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t row = k / s.groups, b = k % s.groups;
        tiles_to_output(s.plane, m_data + row * s.tiles() + b * s.plane.tiles(), n * s.tiles(),
                        bias ? bias[o + row] : 0.0f, y + (b * s.out + o + row) * s.plane.pixels());
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
    in_parallel(n, 1, [&](int64_t begin, int64_t end) {
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
    in_parallel(s.out, 1, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o)
        kernels_to_tiles(s.plane.m, kernels + (o * s.in + c) * 9, n, u_data + o * block, u.stride(0));
    });
    at::bmm_out(v, u.transpose(1, 2), m);
    in_parallel(n * s.groups, 1, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t row = k / s.groups, b = k % s.groups;
        tiles_to_input(s.plane, v_data + row * s.tiles() + b * s.plane.tiles(), n * s.tiles(),
                       grad_x + (b * s.in + c + row) * s.plane.pixels());
      }
    });
  }
}

// Calls body(shape, first sample, samples) for parts of the batch, so that no buffer of tiles grows beyond its measure.
template <class Body>
void in_parts(int64_t m, at::IntArrayRef x, const at::Tensor& weight, Body body) {
  Shape s{1, x[1], weight.size(0), {x[2], x[3], m}};
  const int64_t a_sample = s.positions() * std::max(s.in, s.out) * s.plane.tiles();
  const int64_t most = std::clamp<int64_t>(most_tile_floats / a_sample, 1, x[0]);
  for (int64_t first = 0; first < x[0]; first += most) {
    const int64_t samples = std::min(most, x[0] - first);
    const bool in_lanes = s.plane.width < most_short && samples >= enough_lanes;
    s.groups = in_lanes ? 1 : samples, s.plane.lanes = in_lanes ? samples : 1;
    body(s, first, samples);
  }
}

// Some samples of a batch as `s` wants them, and back.
at::Tensor samples_of(const Shape& s, const at::Tensor& x, int64_t first, int64_t samples) {
  at::Tensor part = x.narrow(0, first, samples);
  if (s.plane.lanes == 1) return part;
  const int64_t pixels = part.numel() / samples;
  at::Tensor out = at::empty({pixels, samples}, x.options());
  in_parallel(pixels, 1024, [&](int64_t begin, int64_t end) {
    into_lanes(part.const_data_ptr<float>(), samples, pixels, begin, end, out.mutable_data_ptr<float>());
  });
  return out;
}
at::Tensor room_for(const Shape& s, const at::Tensor& y, int64_t first, int64_t samples) {
  at::Tensor part = y.narrow(0, first, samples);
  return s.plane.lanes > 1 ? at::empty({part.numel() / samples, samples}, y.options()) : part;
}
void put_back(const Shape& s, const at::Tensor& room, const at::Tensor& y, int64_t first, int64_t samples) {
  if (s.plane.lanes == 1) return;
  at::Tensor part = y.narrow(0, first, samples);
  in_parallel(room.size(0), 1024, [&](int64_t begin, int64_t end) {
    out_of_lanes(room.const_data_ptr<float>(), samples, room.size(0), begin, end, part.mutable_data_ptr<float>());
  });
}

}  // namespace

float* winograd::thread_scratch(int64_t floats) {
  thread_local std::vector<float> room;
  room.resize(std::max(room.size(), static_cast<size_t>(floats)));
  return room.data();
}

at::Tensor winograd_forward(int64_t m, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias) {
  at::Tensor y = at::empty({x.size(0), weight.size(0), x.size(2), x.size(3)}, x.options());
  in_parts(m, x.sizes(), weight, [&](const Shape& s, int64_t first, int64_t samples) {
    at::Tensor from = samples_of(s, x, first, samples), to = room_for(s, y, first, samples);
    forward_part(s, from.const_data_ptr<float>(), weight, bias ? bias->const_data_ptr<float>() : nullptr,
                 to.mutable_data_ptr<float>());
    put_back(s, to, y, first, samples);
  });
  return y;
}

at::Tensor winograd_backward(int64_t m, const at::Tensor& g, const at::Tensor& x, const at::Tensor& weight,
                             at::Tensor grad_weight, bool wants_grad_x) {
  at::Tensor grad_x = wants_grad_x ? at::empty(x.sizes(), x.options()) : at::Tensor();
  in_parts(m, x.sizes(), weight, [&](const Shape& s, int64_t first, int64_t samples) {
    at::Tensor g_part = samples_of(s, g, first, samples), x_part = samples_of(s, x, first, samples);
    at::Tensor g_tiles = planes_to_tiles(s, g_part.const_data_ptr<float>(), s.out, g, output_to_tiles);
    if (wants_grad_x) {
      at::Tensor to = room_for(s, grad_x, first, samples);
      input_gradient(s, g_tiles, weight, to.mutable_data_ptr<float>());
      put_back(s, to, grad_x, first, samples);
    }
    at::Tensor v = planes_to_tiles(s, x_part.const_data_ptr<float>(), s.in, x, input_to_tiles);
    add_weight_gradient(s, g_tiles, v, grad_weight.mutable_data_ptr<float>());
  });
  return grad_x;
}

at::Tensor winograd_input_gradient(int64_t m, const at::Tensor& g, at::IntArrayRef x_sizes, const at::Tensor& weight) {
  at::Tensor grad_x = at::empty(x_sizes, g.options());
  in_parts(m, x_sizes, weight, [&](const Shape& s, int64_t first, int64_t samples) {
    at::Tensor g_part = samples_of(s, g, first, samples), to = room_for(s, grad_x, first, samples);
    input_gradient(s, planes_to_tiles(s, g_part.const_data_ptr<float>(), s.out, g, output_to_tiles), weight, to.mutable_data_ptr<float>());
    put_back(s, to, grad_x, first, samples);
  });
  return grad_x;
}

}  // namespace t2i
