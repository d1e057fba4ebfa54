#include "core/kernel/draw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include "core/base/rng.h"

namespace t2i {
namespace {

at::Tensor draw_cpu(const at::Tensor& rng, int64_t stream, at::IntArrayRef per_sample, bool normal) {
  TORCH_CHECK(rng.dim() == 2 && rng.size(1) == 3 && rng.scalar_type() == at::kLong, "rng must be [n,3] int64, got ",
              rng.sizes());
  std::vector<int64_t> shape{rng.size(0)};
  shape.insert(shape.end(), per_sample.begin(), per_sample.end());
  at::Tensor out = at::empty(shape, at::kFloat);
  at::Tensor keys = rng.contiguous();
  const int64_t* key = keys.const_data_ptr<int64_t>();
  float* data = out.mutable_data_ptr<float>();
  int64_t n = rng.size(0), each = n ? out.numel() / n : 0;
  at::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      DrawKey k{static_cast<uint64_t>(key[3 * i]), static_cast<uint64_t>(key[3 * i + 1]),
                static_cast<uint64_t>(key[3 * i + 2]), static_cast<uint32_t>(stream)};
      std::span<float> row(data + i * each, static_cast<size_t>(each));
      normal ? philox_normal(k, row) : philox_uniform(k, row);
    }
  });
  return out;
}

at::Tensor call(const at::Tensor& rng, const std::string& stream, at::IntArrayRef per_sample, bool normal) {
  static auto op = c10::Dispatcher::singleton()
                       .findSchemaOrThrow("t2i::draw", "")
                       .typed<at::Tensor(const at::Tensor&, int64_t, at::IntArrayRef, bool)>();
  return op.call(rng, stream_id(stream), per_sample, normal);
}

}  // namespace

at::Tensor draw_uniform(const at::Tensor& rng, const std::string& stream, at::IntArrayRef per_sample) {
  return call(rng, stream, per_sample, false);
}
at::Tensor draw_normal(const at::Tensor& rng, const std::string& stream, at::IntArrayRef per_sample) {
  return call(rng, stream, per_sample, true);
}

TORCH_LIBRARY_FRAGMENT(t2i, m) { m.def("draw(Tensor rng, int stream, int[] per_sample, bool normal) -> Tensor"); }
TORCH_LIBRARY_IMPL(t2i, CPU, m) { m.impl("draw", draw_cpu); }

}  // namespace t2i
