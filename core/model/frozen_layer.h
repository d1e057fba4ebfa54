// Layers over a weight that is not trained and held otherwise than the product wants it: in another type, packed, or on
// its way from host memory. It is brought into the product's type and forgotten, in forward and once more in backward, so
// no more than one layer's weight is ever there. Neither it nor the input is kept for backward: the weight is frozen, and
// the input's gradient needs the weight alone.
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>

#include "core/kernel/dense.h"
#include "core/model/layer.h"
#include "core/model/packed.h"

namespace t2i {

// A frozen weight, however it is held.
struct FrozenWeight {
  std::vector<int64_t> shape;
  at::Tensor plain;                              // or:
  std::shared_ptr<const PackedWeight> packed;    // or:
  std::shared_ptr<const SwappedWeight> swapped;

  // The weight for one product. It may lie in memory that the next call fills with another: nobody keeps it.
  at::Tensor in(at::ScalarType type) const;
};

FrozenWeight frozen_weight(const Parameter& parameter);

// `values`: as in core/kernel/dense.h. As linear_layer and conv2d_layer. Products are in the type of `x`, or in autocast's
// where that is on, and on a processor without that type's arithmetic as core/kernel/rounded.h has them.
at::Tensor frozen_linear(const at::Tensor& x, FrozenWeight weight, const std::optional<at::Tensor>& bias, Values values = Values::made);
at::Tensor frozen_conv2d(const at::Tensor& x, FrozenWeight weight, const std::optional<at::Tensor>& bias, const ConvShape& shape,
                         Values values = Values::made);

}  // namespace t2i
