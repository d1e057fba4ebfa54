// A block of a model, run by the core: directly, or with its insides forgotten and made again in backward (activation
// checkpointing, Chen et al. 2016, arXiv:1604.06174). The model does not know which.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

#include "core/model/offload.h"

namespace t2i {

using BlockBody = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)>;

// Runs `body` so that backward recomputes it: only `inputs` are kept, by `offload` where there is one. Gradients equal those without recompute bit for
// bit as long as the body is deterministic. `body` must own what it captures: it outlives the caller. Where neither an input
// nor a weight inside wants a gradient, nothing is kept or recomputed. `whole`, which outlives backward: such blocks are
// recomputed with their last layer's product (block_run.h); set when that turns out to be needed. Null: nothing is known of the weights inside, all is recomputed.
std::vector<at::Tensor> run_recomputed(const std::vector<at::Tensor>& inputs, BlockBody body, bool* whole = nullptr, std::shared_ptr<Offload> offload = nullptr);

}  // namespace t2i
