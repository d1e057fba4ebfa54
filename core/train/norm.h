// The Euclidean norm of a large flat tensor.
#pragma once
#include <ATen/core/Tensor.h>

namespace t2i {

// A float32 scalar. In blocks, and of their norms again: summed one by one in float32, a billion squares come out a
// quarter too small.
at::Tensor norm_of(const at::Tensor& x);

}  // namespace t2i
