// t2i::draw for CUDA tensors (core/kernel/draw.cpp defines the op and its CPU half). Nothing here waits for the device
// or allocates outside torch's pool, so a draw can be captured in a CUDA graph.
#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "core/cuda/draw.h"

namespace t2i {
namespace {

at::Tensor draw_cuda(const at::Tensor& rng, int64_t stream, at::IntArrayRef per_sample, bool normal) {
  TORCH_CHECK(rng.dim() == 2 && rng.size(1) == 3 && rng.scalar_type() == at::kLong, "rng must be [n,3] int64, got ",
              rng.sizes());
  c10::cuda::CUDAGuard on_device(rng.device());
  std::vector<int64_t> shape{rng.size(0)};
  shape.insert(shape.end(), per_sample.begin(), per_sample.end());
  at::Tensor out = at::empty(shape, rng.options().dtype(at::kFloat)), keys = rng.contiguous();
  int64_t rows = rng.size(0);
  DrawJob job{keys.const_data_ptr<int64_t>(), rows,   rows ? out.numel() / rows : 0,
              static_cast<uint32_t>(stream),  normal, out.mutable_data_ptr<float>()};
  C10_CUDA_CHECK(launch_draw(job, c10::cuda::getCurrentCUDAStream()));
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(t2i, CUDA, m) { m.impl("draw", draw_cuda); }

}  // namespace t2i
