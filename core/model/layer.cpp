#include "core/model/layer.h"

#include <ATen/ATen.h>

#include "core/kernel/dense.h"
#include "core/model/adapter.h"
#include "core/model/block_run.h"
#include "core/model/dropout.h"
#include "core/model/packed_layer.h"

namespace t2i {

static std::optional<at::Tensor> value_of(const Parameter* bias) { return bias ? std::optional(bias->value) : std::nullopt; }

// A number per output of a layer, beside what the layer made: [out], of a convolution [out,1,1].
static at::Tensor per_output(const at::Tensor& t, const Parameter& weight) { return weight.shape.size() == 4 ? t.view({-1, 1, 1}) : t; }

// A frozen weight in float32, however it is held.
static at::Tensor whole_weight(const Parameter& weight) {
  return weight.packed ? unpacked(*weight.packed, at::kFloat) : weight.value.to(at::kFloat);
}

// DoRA, eq. 5 there; the length of the sum is not differentiated (§4.3), as in peft.
static at::Tensor turned(const LowRank& l, const Parameter& weight) {
  at::Tensor length;
  {
    at::NoGradGuard no_grad;
    length = row_lengths(whole_weight(weight) + change_of(l, weight.shape));
  }
  return per_output(l.magnitude / length, weight);
}

// What the layer made with its adapters added, one after the other. `base` is the layer's product without its bias,
// `factors` B A x. Types as peft has them: adapters in their own, the sum in the layer's.
template <class Base, class Factors>
static at::Tensor with_adapters(const at::Tensor& made, const at::Tensor& x, const Parameter& weight, const Parameter* bias,
                                const Base& base, const Factors& factors) {
  at::Tensor y = made;
  for (const LowRank& l : weight.adapter->low_rank) {
    const at::Tensor own = x.to(l.down.scalar_type()), seen = t2i::dropout(own, l.dropout, weight.name);
    const at::Tensor change = factors(seen, l);
    if (!l.magnitude.defined()) {
      y = at::add(y, change, l.scale);
      continue;
    }
    at::Tensor plain = y;
    if (!seen.is_same(own)) plain = base(seen);
    else if (bias) plain = y - per_output(bias->value, weight);
    const at::Tensor turn = turned(l, weight);
    y = y + (turn - 1) * plain + turn * change * l.scale;
  }
  return y.to(made.scalar_type());
}

// May this layer's product be left out, in a block that is run again? (block_run.h)
static Values values_of(const at::Tensor& x, const Parameter& weight, const Parameter* bias) {
  BlockRun* run = BlockRun::current();
  if (!run || !run->next_layer_without_values()) return Values::made;
  const bool may = weight.packed ? at::GradMode::is_enabled() && x.requires_grad() : may_leave_out(x, weight.value, value_of(bias));
  if (!may) return Values::made;
  if (weight.adapter)
    for (const LowRank& l : weight.adapter->low_rank)
      if (l.magnitude.defined()) return Values::made;  // its gradient is of what the layer made
  run->values_left_out();
  return Values::left_out;
}

at::Tensor linear_layer(const at::Tensor& x, const Parameter& weight, const Parameter* bias) {
  const std::optional<at::Tensor> plus = value_of(bias);
  const Values values = values_of(x, weight, bias);
  at::Tensor y = weight.packed ? packed_linear(x, weight.packed, plus, values) : t2i::linear(x, weight.value, plus, values);
  if (!weight.adapter) return y;
  return with_adapters(
      y, x, weight, bias,
      [&](const at::Tensor& seen) { return weight.packed ? packed_linear(seen, weight.packed, std::nullopt) : t2i::linear(seen, weight.value, std::nullopt); },
      [](const at::Tensor& seen, const LowRank& l) { return t2i::linear(t2i::linear(seen, l.down, std::nullopt), l.up, std::nullopt); });
}

at::Tensor conv2d_layer(const at::Tensor& x, const Parameter& weight, const Parameter* bias, const ConvShape& s) {
  auto base = [&](const at::Tensor& in, const std::optional<at::Tensor>& plus, Values values) {
    return weight.packed ? packed_conv2d(in, weight.packed, plus, s, values)
                         : conv2d(in, weight.value, plus, s.stride, s.padding, s.dilation, s.groups, values);
  };
  at::Tensor y = base(x, value_of(bias), values_of(x, weight, bias));
  if (!weight.adapter) return y;
  TORCH_CHECK(s.groups == 1, "an adapter beside ", weight.name, ", a convolution in groups, is not supported");
  return with_adapters(
      y, x, weight, bias, [&](const at::Tensor& seen) { return base(seen, std::nullopt, Values::made); },
      [&](const at::Tensor& seen, const LowRank& l) {
        const at::Tensor low = conv2d(seen, l.down, std::nullopt, s.stride, s.padding, s.dilation, s.groups);
        return conv2d(low, l.up, std::nullopt, 1, 0, 1, 1);
      });
}

}  // namespace t2i
