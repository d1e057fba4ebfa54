#include "core/train/ema.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace t2i {

void Ema::start(const at::Tensor& weights, double limit) {
  at::NoGradGuard no_grad;
  decay = limit;
  average = weights.detach().to(at::kFloat, false, /*copy=*/true);
}

void Ema::update(const at::Tensor& weights, const at::Tensor& found_bad, int64_t step) {
  at::NoGradGuard no_grad;
  // diffusers counts from 1 and uses (1 + (t - 1)) / (10 + (t - 1)), with 0 at its first step: the average starts as the weights.
  double now = step == 0 ? 0.0 : std::min(decay, (1.0 + static_cast<double>(step)) / (10.0 + static_cast<double>(step)));
  average.lerp_(weights.to(at::kFloat), (1.0 - now) * (1.0 - found_bad.reshape({})));
}

}  // namespace t2i
