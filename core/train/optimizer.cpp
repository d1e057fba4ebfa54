#include "core/train/optimizer.h"

#include <ATen/ATen.h>

namespace t2i {

OptimizerState make_optimizer_state(const at::Tensor& weights) {
  auto options = weights.options().dtype(at::kFloat).requires_grad(false);
  return {at::zeros(weights.sizes(), options), at::zeros(weights.sizes(), options), at::zeros({}, options)};
}

void adamw_update(const OptimizerConfig& config, double learning_rate, at::Tensor weights, at::Tensor grads, OptimizerState& state,
                  const at::Tensor& grad_divisor, const at::Tensor& found_bad) {
  at::NoGradGuard no_grad;
  // The fused op skips the update where found_inf is set, but its caller counts the step: count only updates made.
  state.step.add_(1.0 - found_bad.reshape({}));
  at::_fused_adamw_({weights}, {grads}, {state.exp_avg}, {state.exp_avg_sq}, {}, {state.step}, learning_rate, config.adam_beta1,
                    config.adam_beta2, config.adam_weight_decay, config.adam_epsilon, /*amsgrad=*/false, /*maximize=*/false,
                    grad_divisor.reshape({}), found_bad.reshape({}));
}

}  // namespace t2i
