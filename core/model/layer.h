// A linear or convolution layer over a parameter, however it is held: plain (core/kernel/dense.h), in another type than the
// product's, in fewer bits or in host memory (frozen_layer.h), with adapters beside it (adapter.h). So every model plugin
// has all of that without a line of its own.
#pragma once
#include "core/model/params.h"

namespace t2i {

// x [..., in], weight [out, in], bias [out] or null -> [..., out].
at::Tensor linear_layer(const at::Tensor& x, const Parameter& weight, const Parameter* bias);

struct ConvShape {
  int64_t stride = 1, padding = 0, dilation = 1, groups = 1;
};

// x [B,C,H,W], weight [O,C/groups,kh,kw], bias [O] or null -> [B,O,H',W'].
at::Tensor conv2d_layer(const at::Tensor& x, const Parameter& weight, const Parameter* bias, const ConvShape& shape);

}  // namespace t2i
