// Philox draws on a GPU. No torch header here: a .cu file that includes one compiles for half a minute.
#pragma once
#include <cuda_runtime_api.h>

#include "core/cuda/draw_thread.h"

namespace t2i {

// Queued on `stream`; all pointers are the device's. Returns the launch's error, cudaSuccess if it was queued.
cudaError_t launch_draw(const DrawJob& job, cudaStream_t stream);

}  // namespace t2i
