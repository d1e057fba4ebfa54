#include "core/cuda/bf16_weights.h"

namespace t2i {
namespace {

constexpr int64_t threads = 256, most_blocks = 1 << 16;

unsigned blocks_for(int64_t count) {
  const int64_t blocks = (count + threads - 1) / threads;
  return static_cast<unsigned>(blocks < most_blocks ? blocks : most_blocks);
}

__device__ int64_t first_thread() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ int64_t all_threads() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

__global__ void join_kernel(HalvesJob job) {
  for (int64_t i = first_thread(); i < job.count; i += all_threads()) join_thread(job, i);
}

__global__ void split_kernel(HalvesJob job) {
  for (int64_t i = first_thread(); i < job.count; i += all_threads()) split_thread(job, i);
}

__global__ void rounding_kernel(RoundingJob job) {
  for (int64_t i = first_thread(); i < rounding_threads(job); i += all_threads()) rounding_thread(job, i);
}

}  // namespace

cudaError_t launch_join_halves(const HalvesJob& job, cudaStream_t stream) {
  if (job.count == 0) return cudaSuccess;
  join_kernel<<<blocks_for(job.count), threads, 0, stream>>>(job);
  return cudaGetLastError();
}

cudaError_t launch_split_halves(const HalvesJob& job, cudaStream_t stream) {
  if (job.count == 0) return cudaSuccess;
  split_kernel<<<blocks_for(job.count), threads, 0, stream>>>(job);
  return cudaGetLastError();
}

cudaError_t launch_round_stochastically(const RoundingJob& job, cudaStream_t stream) {
  if (job.count == 0) return cudaSuccess;
  rounding_kernel<<<blocks_for(rounding_threads(job)), threads, 0, stream>>>(job);
  return cudaGetLastError();
}

}  // namespace t2i
