#include "core/model/layer.h"

#include <ATen/ATen.h>

#include "core/kernel/dense.h"

namespace t2i {

static std::optional<at::Tensor> value_of(const Parameter* bias) { return bias ? std::optional(bias->value) : std::nullopt; }

at::Tensor linear_layer(const at::Tensor& x, const Parameter& weight, const Parameter* bias) {
  return t2i::linear(x, weight.value, value_of(bias));
}

at::Tensor conv2d_layer(const at::Tensor& x, const Parameter& weight, const Parameter* bias, const ConvShape& s) {
  return t2i::conv2d(x, weight.value, value_of(bias), s.stride, s.padding, s.dilation, s.groups);
}

}  // namespace t2i
