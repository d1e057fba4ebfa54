// AdamW over flat buffers (Loshchilov & Hutter 2019, arXiv:1711.05101): one fused call for all weights. The learning
// rate, the step number, the gradient's scale and the flag that leaves a bad step out are tensors on the device, so the
// host never waits and a step can be captured.
#pragma once
#include <ATen/core/Tensor.h>

#include "core/config/config.h"

namespace t2i {

struct OptimizerState {
  at::Tensor exp_avg, exp_avg_sq;  // as the weights' flat buffer, float32
  at::Tensor step;                 // float32 scalar: updates made
};

OptimizerState make_optimizer_state(const at::Tensor& weights);

// One update of `weights` from `grads` / `grad_divisor`; nothing changes where `found_bad` is 1 (both [1] float32).
void adamw_update(const OptimizerConfig& config, double learning_rate, at::Tensor weights, at::Tensor grads, OptimizerState& state,
                  const at::Tensor& grad_divisor, const at::Tensor& found_bad);

}  // namespace t2i
