#include "core/model/layer.h"

#include <ATen/ATen.h>

#include "core/kernel/dense.h"
#include "core/model/block_run.h"

namespace t2i {

static std::optional<at::Tensor> value_of(const Parameter* bias) { return bias ? std::optional(bias->value) : std::nullopt; }

// May this layer's product be left out, in a block that is run again? (block_run.h)
static Values values_of(const at::Tensor& x, const Parameter& weight, const Parameter* bias) {
  BlockRun* run = BlockRun::current();
  if (!run || !run->next_layer_without_values() || !may_leave_out(x, weight.value, value_of(bias))) return Values::made;
  run->values_left_out();
  return Values::left_out;
}

at::Tensor linear_layer(const at::Tensor& x, const Parameter& weight, const Parameter* bias) {
  return t2i::linear(x, weight.value, value_of(bias), values_of(x, weight, bias));
}

at::Tensor conv2d_layer(const at::Tensor& x, const Parameter& weight, const Parameter* bias, const ConvShape& s) {
  return t2i::conv2d(x, weight.value, value_of(bias), s.stride, s.padding, s.dilation, s.groups, values_of(x, weight, bias));
}

}  // namespace t2i
