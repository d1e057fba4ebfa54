// Compiled with -fmad=false: a contraction to FMA would round differently from the host (core/kernel/unpack.h). The
// tables lie in shared memory: neighbouring threads read other entries, which constant memory would serve one by one.
#include <cuda_fp16.h>

#include "core/cuda/unpack.h"

namespace t2i {
namespace {

constexpr int threads = 256;

struct AsFloat32 {
  float* out;
  __device__ void operator()(int64_t i, float x) const { out[i] = x; }
};
struct AsBfloat16 {
  uint16_t* out;
  __device__ void operator()(int64_t i, float x) const { out[i] = bfloat16_bits(__float_as_uint(x)); }
};
struct AsFloat16 {
  __half* out;
  __device__ void operator()(int64_t i, float x) const { out[i] = __float2half_rn(x); }
};

template <class Store>
__global__ void nf4_kernel(Nf4Job job, Store store) {
  __shared__ float values[16], dynamic[256];
  if (threadIdx.x < 16) values[threadIdx.x] = job.values[threadIdx.x];
  if (job.twice) dynamic[threadIdx.x] = job.dynamic[threadIdx.x];
  __syncthreads();
  job.values = values, job.dynamic = dynamic;
  int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t all = unpack_threads(job.count); thread < all; thread += stride) unpack_nf4_thread(job, thread, store);
}

template <class Store>
__global__ void int8_kernel(Int8Job job, Store store) {
  int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t all = unpack_threads(job.count); thread < all; thread += stride) unpack_int8_thread(job, thread, store);
}

unsigned blocks_for(int64_t count) {
  constexpr int64_t most = 1 << 16;
  const int64_t blocks = (unpack_threads(count) + threads - 1) / threads;
  return static_cast<unsigned>(blocks < most ? blocks : most);
}

// Calls run(store) with the way to store that `type` asks for.
template <class Run>
cudaError_t with_store(UnpackedAs type, void* out, Run run) {
  if (type == UnpackedAs::float32) run(AsFloat32{static_cast<float*>(out)});
  else if (type == UnpackedAs::bfloat16) run(AsBfloat16{static_cast<uint16_t*>(out)});
  else run(AsFloat16{static_cast<__half*>(out)});
  return cudaGetLastError();
}

}  // namespace

cudaError_t launch_unpack_nf4(const Nf4Job& job, UnpackedAs type, void* out, cudaStream_t stream) {
  if (job.count == 0) return cudaSuccess;
  return with_store(type, out, [&](auto store) { nf4_kernel<<<blocks_for(job.count), threads, 0, stream>>>(job, store); });
}

cudaError_t launch_unpack_int8(const Int8Job& job, UnpackedAs type, void* out, cudaStream_t stream) {
  if (job.count == 0) return cudaSuccess;
  return with_store(type, out, [&](auto store) { int8_kernel<<<blocks_for(job.count), threads, 0, stream>>>(job, store); });
}

}  // namespace t2i
