// An exponential moving average of the weights, over the flat buffer. The decay warms up as min(decay, (1+t)/(10+t)),
// the rule of diffusers' EMAModel, so that early averages forget the random start.
#pragma once
#include <ATen/core/Tensor.h>

namespace t2i {

struct Ema {
  at::Tensor average;  // float32, as the weights' flat buffer; undefined when there is no average
  double decay = 0.9999;

  void start(const at::Tensor& weights, double limit);
  // After optimizer step number `step` (from 0). A step that was left out (`found_bad` 1) leaves the average as it is.
  void update(const at::Tensor& weights, const at::Tensor& found_bad, int64_t step);
};

}  // namespace t2i
