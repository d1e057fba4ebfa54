// Named tensors: a batch, a step, an answer. Names are those of sdk/NAMES.md.
#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace t2i {

using Tensors = std::map<std::string, at::Tensor, std::less<>>;

}  // namespace t2i
