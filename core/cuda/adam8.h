// AdamW with eight-bit moments on a GPU. No torch header here: a .cu file that includes one compiles for half a minute.
#pragma once
#include <cuda_runtime_api.h>

#include "core/cuda/adam8_thread.h"

namespace t2i {

// Queued on `stream`. Returns the launch's error, cudaSuccess if it was queued.
cudaError_t launch_adam8(const Adam8DeviceJob& job, cudaStream_t stream);

}  // namespace t2i
