// Compiled with -fmad=false: a contraction to FMA would round differently from the host (core/kernel/adam8_rows.h). A thread
// block takes many blocks of weights, so that the values of codes are brought to shared memory once; the tables of codes, 64 KB
// each, stay in the second cache.
#include "core/cuda/adam8.h"

namespace t2i {
namespace {

constexpr int threads = static_cast<int>(adam8_block);
constexpr int64_t most_blocks = 2048;

// Of all threads' numbers, to all threads. `room` may be used again afterwards.
__device__ float largest_of(float x, float* room) {
  const int thread = static_cast<int>(threadIdx.x);
  room[thread] = adam8_larger(0.0f, x);
  __syncthreads();
  for (int half = threads / 2; half > 0; half /= 2) {
    if (thread < half) room[thread] = adam8_larger(room[thread], room[thread + half]);
    __syncthreads();
  }
  const float largest = room[0];
  __syncthreads();
  return largest;
}

__global__ void adam8_kernel(Adam8DeviceJob all) {
  __shared__ float mean_values[threads], square_values[threads], room[threads];
  __shared__ Adam8Numbers numbers;
  if (*all.found_bad != 0) return;
  const int64_t thread = threadIdx.x;
  mean_values[thread] = all.lookup.mean_values[thread], square_values[thread] = all.lookup.square_values[thread];
  if (thread == 0) numbers = adam8_numbers(all.options, *all.step, *all.grad_divisor);
  __syncthreads();
  const Adam8Lookup lookup{mean_values, square_values, all.lookup.mean_codes, all.lookup.square_codes};
  const Adam8Job& job = all.job;
  for (int64_t block = job.first + blockIdx.x; block < job.last; block += gridDim.x) {
    const int64_t i = block * adam8_block + thread;
    const bool is_there = i < job.n;
    Adam8Moments m{0.0f, 0.0f};
    if (is_there) m = adam8_move(numbers, lookup, job, i);
    // Nobody writes a scale before all have read it: finding the largest waits for all.
    const float mean_scale = largest_of(m.mean, room), square_scale = largest_of(m.square, room);
    if (is_there) {
      job.mean.codes[i] = adam8_code(m.mean, mean_scale, lookup.mean_codes);
      job.square.codes[i] = adam8_code(m.square, square_scale, lookup.square_codes);
    }
    if (thread == 0) job.mean.scales[block] = mean_scale, job.square.scales[block] = square_scale;
  }
}

}  // namespace

cudaError_t launch_adam8(const Adam8DeviceJob& all, cudaStream_t stream) {
  const int64_t blocks = all.job.last - all.job.first;
  if (blocks <= 0) return cudaSuccess;
  adam8_kernel<<<static_cast<unsigned>(blocks < most_blocks ? blocks : most_blocks), threads, 0, stream>>>(all);
  return cudaGetLastError();
}

}  // namespace t2i
