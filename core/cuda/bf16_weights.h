// Weights in bfloat16 on a GPU: joined with their lower halves, split, rounded. No torch header here: a .cu file that includes one
// compiles for half a minute.
#pragma once
#include <cuda_runtime_api.h>

#include "core/cuda/bf16_weights_thread.h"

namespace t2i {

// Queued on `stream`; all pointers are the device's. Each returns the launch's error, cudaSuccess if it was queued.
cudaError_t launch_join_halves(const HalvesJob& job, cudaStream_t stream);
cudaError_t launch_split_halves(const HalvesJob& job, cudaStream_t stream);
cudaError_t launch_round_stochastically(const RoundingJob& job, cudaStream_t stream);

}  // namespace t2i
