#include "core/model/layer.h"

#include <ATen/ATen.h>

#include "core/kernel/dense.h"
#include "core/model/packed_layer.h"

namespace t2i {

static std::optional<at::Tensor> value_of(const Parameter* bias) { return bias ? std::optional(bias->value) : std::nullopt; }

at::Tensor linear_layer(const at::Tensor& x, const Parameter& weight, const Parameter* bias) {
  if (weight.packed) return packed_linear(x, weight.packed, value_of(bias));
  return t2i::linear(x, weight.value, value_of(bias));
}

at::Tensor conv2d_layer(const at::Tensor& x, const Parameter& weight, const Parameter* bias, const ConvShape& s) {
  if (weight.packed) return packed_conv2d(x, weight.packed, value_of(bias), s);
  return t2i::conv2d(x, weight.value, value_of(bias), s.stride, s.padding, s.dilation, s.groups);
}

}  // namespace t2i
