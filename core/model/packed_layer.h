// Layers over a packed weight: it is unpacked for the product and forgotten, in forward and once more in backward, so no
// more than one layer's weight is ever there. Neither it nor the input is kept for backward: the weight is frozen, and the
// input's gradient needs the weight alone.
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>

#include "core/kernel/dense.h"
#include "core/model/layer.h"
#include "core/model/packed.h"

namespace t2i {

// `values`: as in core/kernel/dense.h. As linear_layer and conv2d_layer. Products are in the type of `x`, or in autocast's where that is on, and on a
// processor without that type's arithmetic as core/kernel/rounded.h has them.
at::Tensor packed_linear(const at::Tensor& x, std::shared_ptr<const PackedWeight> weight, const std::optional<at::Tensor>& bias,
                         Values values = Values::made);
at::Tensor packed_conv2d(const at::Tensor& x, std::shared_ptr<const PackedWeight> weight, const std::optional<at::Tensor>& bias,
                         const ConvShape& shape, Values values = Values::made);

}  // namespace t2i
