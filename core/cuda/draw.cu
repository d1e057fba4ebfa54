// Compiled with -fmad=false: a contraction to FMA would round differently from the host (philox.h).
#include "core/cuda/draw.h"

namespace t2i {
namespace {

__global__ void draw_kernel(DrawJob job) {
  int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t all = draw_threads(job); thread < all; thread += stride) draw_thread(job, thread);
}

}  // namespace

cudaError_t launch_draw(const DrawJob& job, cudaStream_t stream) {
  constexpr int64_t threads = 256, most_blocks = 1 << 16;
  int64_t blocks = (draw_threads(job) + threads - 1) / threads;
  if (blocks == 0) return cudaSuccess;
  draw_kernel<<<static_cast<unsigned>(blocks < most_blocks ? blocks : most_blocks), threads, 0, stream>>>(job);
  return cudaGetLastError();
}

}  // namespace t2i
