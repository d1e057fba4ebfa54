// t2i::join_halves, t2i::split_halves and t2i::round_stochastically for CUDA tensors (core/kernel/bf16_weights.cpp defines the ops
// and their CPU half). Nothing here waits for the device.
#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "core/cuda/bf16_weights.h"

namespace t2i {
namespace {

// What is only read is not written by the kernel that gets it.
template <class Bits>
Bits* bits_of(const at::Tensor& t) { return static_cast<Bits*>(const_cast<void*>(t.const_data_ptr())); }

HalvesJob halves(const at::Tensor& exact, const at::Tensor& upper, const at::Tensor& lower) {
  return {bits_of<uint32_t>(exact), bits_of<uint16_t>(upper), bits_of<int16_t>(lower), exact.numel()};
}

void join_halves_cuda(const at::Tensor& upper, const at::Tensor& lower, at::Tensor& exact) {
  c10::cuda::CUDAGuard on_device(exact.device());
  C10_CUDA_CHECK(launch_join_halves(halves(exact, upper, lower), c10::cuda::getCurrentCUDAStream()));
}

void split_halves_cuda(const at::Tensor& exact, at::Tensor& upper, at::Tensor& lower) {
  c10::cuda::CUDAGuard on_device(exact.device());
  C10_CUDA_CHECK(launch_split_halves(halves(exact, upper, lower), c10::cuda::getCurrentCUDAStream()));
}

void round_stochastically_cuda(const at::Tensor& exact, at::Tensor& rounded, int64_t seed, int64_t step, int64_t begin, int64_t stream) {
  c10::cuda::CUDAGuard on_device(exact.device());
  const RoundingJob job{bits_of<uint32_t>(exact), bits_of<uint16_t>(rounded), exact.numel(),
                        {static_cast<uint64_t>(seed), static_cast<uint64_t>(step), begin, static_cast<uint32_t>(stream)}};
  C10_CUDA_CHECK(launch_round_stochastically(job, c10::cuda::getCurrentCUDAStream()));
}

}  // namespace

TORCH_LIBRARY_IMPL(t2i, CUDA, m) {
  m.impl("join_halves", join_halves_cuda);
  m.impl("split_halves", split_halves_cuda);
  m.impl("round_stochastically", round_stochastically_cuda);
}

}  // namespace t2i
