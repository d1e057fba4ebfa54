// Packed weights as numbers again, on a GPU. No torch header here: a .cu file that includes one compiles for half a minute.
#pragma once
#include <cuda_runtime_api.h>

#include "core/cuda/unpack_thread.h"

namespace t2i {

enum class UnpackedAs { float32, bfloat16, float16 };

// Queued on `stream`; all pointers are the device's. Returns the launch's error, cudaSuccess if it was queued.
cudaError_t launch_unpack_nf4(const Nf4Job& job, UnpackedAs type, void* out, cudaStream_t stream);
cudaError_t launch_unpack_int8(const Int8Job& job, UnpackedAs type, void* out, cudaStream_t stream);

}  // namespace t2i
