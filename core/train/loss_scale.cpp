#include "core/train/loss_scale.h"

#include <ATen/ATen.h>

namespace t2i {

LossScale::LossScale(at::Device device, bool dynamic) : dynamic_(dynamic) {
  scale_ = at::full({}, dynamic ? 65536.0 : 1.0, at::TensorOptions().dtype(at::kFloat).device(device));
  good_steps_ = at::zeros({}, at::TensorOptions().dtype(at::kInt).device(device));
}

void LossScale::update(const at::Tensor& found_bad) {
  if (!dynamic_) return;
  at::NoGradGuard no_grad;
  at::_amp_update_scale_(scale_, good_steps_, found_bad.reshape({}), /*growth_factor=*/2.0, /*backoff_factor=*/0.5, /*growth_interval=*/2000);
  scale_.clamp_(1.0);  // at 0 it could never rise again; at 1 an overflow is no matter of the scale
}

void LossScale::restore(const at::Tensor& scale, const at::Tensor& good_steps) {
  scale_.copy_(scale);
  good_steps_.copy_(good_steps);
}

}  // namespace t2i
