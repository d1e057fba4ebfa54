// Layers whose weight is not trained; and those whose result nobody reads, in the graph all the same: zeros forward, the usual
// gradients backward.
#pragma once
#include <ATen/core/Tensor.h>

#include "core/kernel/convolve.h"

namespace t2i {

// Zeros in the shape and type that the layer's result would have, given an input of that type.
at::Tensor no_product(const at::Tensor& x, const at::Tensor& weight);
at::Tensor no_convolution(const at::Tensor& x, const at::Tensor& weight, const Stride& s);

// What a product with x is computed in: autocast's type where that is on, else its own.
at::ScalarType product_type(const at::Tensor& x);

// Of a weight that is not trained. `type`: what the product would be computed in; `rounds`: in float32, of operands
// rounded to it (rounded.h).
at::Tensor frozen_linear_without_values(const at::Tensor& x, const at::Tensor& weight, at::ScalarType type, bool rounds);
// `made`: false for zeros. A bias may be trained. In float32 and rounded to it, as convolve.h has it; else `type` is that of
// the operands and nothing is made.
at::Tensor frozen_conv2d(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, const Stride& s, at::ScalarType type,
                         bool rounds, bool made);

}  // namespace t2i
