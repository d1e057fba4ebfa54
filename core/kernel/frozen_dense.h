// Layers whose result nobody reads, in the graph all the same: zeros forward, the usual gradients backward.
#pragma once
#include <ATen/core/Tensor.h>

namespace t2i {

struct Stride {
  int64_t stride = 1, padding = 0, dilation = 1, groups = 1;
};

// Zeros in the shape and type that the layer's result would have, given an input of that type.
at::Tensor no_product(const at::Tensor& x, const at::Tensor& weight);
at::Tensor no_convolution(const at::Tensor& x, const at::Tensor& weight, const Stride& s);

// What a product with x is computed in: autocast's type where that is on, else its own.
at::ScalarType product_type(const at::Tensor& x);

// Of a weight that is not trained. `type`: what the product would be computed in; `rounds`: in float32, of operands
// rounded to it (rounded.h).
at::Tensor frozen_linear_without_values(const at::Tensor& x, const at::Tensor& weight, at::ScalarType type, bool rounds);
at::Tensor frozen_conv2d_without_values(const at::Tensor& x, const at::Tensor& weight, const Stride& s, at::ScalarType type, bool rounds);

}  // namespace t2i
