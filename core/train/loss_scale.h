// Dynamic loss scaling for fp16 (Micikevicius et al. 2018, arXiv:1710.03740): gradients are computed of scale · loss so
// that small ones survive; a step whose gradient overflowed is left out and the scale halved, down to 1; 2000 good steps
// double it.
// All on the device: nobody waits to learn whether a step overflowed.
#pragma once
#include <ATen/core/Tensor.h>

namespace t2i {

class LossScale {
 public:
  LossScale() = default;
  LossScale(at::Device device, bool dynamic);
  const at::Tensor& value() const { return scale_; }             // float32 scalar
  const at::Tensor& good_steps() const { return good_steps_; }   // int32 scalar, since the scale last changed
  void update(const at::Tensor& found_bad);                      // [1] float32
  void restore(const at::Tensor& scale, const at::Tensor& good_steps);

 private:
  bool dynamic_ = false;
  at::Tensor scale_, good_steps_;
};

}  // namespace t2i
