// The optimizer's step inside the backward pass: each weight is updated as soon as its gradient is complete, and the
// gradient is freed. There is never more of the gradient than a few parameters' (Lv et al. 2023, arXiv:2306.09782). What
// needs all gradients at once does not go with it: check_optimizer() refuses that by name.
#pragma once
#include <memory>

#include "core/train/optimizer.h"

namespace t2i {

class FusedBackward {
 public:
  // `watched`: parameters whose mean |gradient| is measured when asked for. The store keeps no gradients.
  FusedBackward(const ParamStore& weights, Optimizer& optimizer, const std::vector<const Parameter*>& watched);
  ~FusedBackward();
  FusedBackward(const FusedBackward&) = delete;

  // Before the backward pass of a step. `numbers.found_bad` is what is known by then: that the loss is no number.
  void begin(const StepNumbers& numbers, bool measure);

  struct Result {
    at::Tensor grad_norm;     // of all gradients; no number where one had none
    at::Tensor watched_grad;  // undefined unless measured
  };
  // After it. What got no gradient is updated as with a gradient of zeros, as it is without all this.
  Result finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace t2i
