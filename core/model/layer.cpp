#include "core/model/layer.h"

#include <ATen/ATen.h>

#include "core/kernel/dense.h"
#include "core/kernel/frozen_dense.h"
#include "core/kernel/rounded.h"
#include "core/model/adapter.h"
#include "core/model/block_run.h"
#include "core/model/dropout.h"
#include "core/model/frozen_layer.h"

namespace t2i {

// Is this weight brought into the type of its product each time (frozen_layer.h)? One that is held in float32 is left to
// autocast.
static bool comes_each_time(const at::Tensor& x, const Parameter& weight) {
  if (weight.packed || weight.swapped) return true;
  if (weight.trainable || (weight.value.scalar_type() != at::kBFloat16 && weight.value.scalar_type() != at::kHalf)) return false;
  return weight.value.scalar_type() != product_type(x) || rounded_type(x);
}

// A bias may be frozen beside a weight that is trained, and held in a lower type.
static std::optional<at::Tensor> value_of(const Parameter* bias, const Parameter& weight) {
  if (!bias) return std::nullopt;
  return weight.trainable && !bias->trainable ? bias->value.to(weight.value.scalar_type()) : bias->value;
}

// A number per output of a layer, beside what the layer made: [out], of a convolution [out,1,1].
static at::Tensor per_output(const at::Tensor& t, const Parameter& weight) { return weight.shape.size() == 4 ? t.view({-1, 1, 1}) : t; }

// DoRA, eq. 5 there; the length of the sum is not differentiated (§4.3), as in peft.
static at::Tensor turned(const LowRank& l, const Parameter& weight) {
  at::Tensor length;
  {
    at::NoGradGuard no_grad;
    length = row_lengths(frozen_weight(weight).in(at::kFloat) + change_of(l, weight.shape));
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
    else if (bias) plain = y - per_output(bias->value.to(l.magnitude.scalar_type()), weight);
    const at::Tensor turn = turned(l, weight);
    y = y + (turn - 1) * plain + turn * change * l.scale;
  }
  return y.to(made.scalar_type());
}

// May this layer's product be left out, in a block that is run again? (block_run.h)
static Values values_of(const at::Tensor& x, const Parameter& weight, const Parameter* bias) {
  BlockRun* run = BlockRun::current();
  if (!run || !run->next_layer_without_values()) return Values::made;
  const bool may = comes_each_time(x, weight) ? at::GradMode::is_enabled() && x.requires_grad() : may_leave_out(x, weight.value, value_of(bias, weight));
  if (!may) return Values::made;
  if (weight.adapter)
    for (const LowRank& l : weight.adapter->low_rank)
      if (l.magnitude.defined()) return Values::made;  // its gradient is of what the layer made
  run->values_left_out();
  return Values::left_out;
}

at::Tensor linear_layer(const at::Tensor& x, const Parameter& weight, const Parameter* bias) {
  auto base = [&](const at::Tensor& in, const std::optional<at::Tensor>& plus, Values values) {
    return comes_each_time(in, weight) ? frozen_linear(in, frozen_weight(weight), plus, values) : t2i::linear(in, weight.value, plus, values);
  };
  at::Tensor y = base(x, value_of(bias, weight), values_of(x, weight, bias));
  if (!weight.adapter) return y;
  return with_adapters(
      y, x, weight, bias, [&](const at::Tensor& seen) { return base(seen, std::nullopt, Values::made); },
      [](const at::Tensor& seen, const LowRank& l) { return t2i::linear(t2i::linear(seen, l.down, std::nullopt), l.up, std::nullopt); });
}

at::Tensor conv2d_layer(const at::Tensor& x, const Parameter& weight, const Parameter* bias, const ConvShape& s) {
  auto base = [&](const at::Tensor& in, const std::optional<at::Tensor>& plus, Values values) {
    return comes_each_time(in, weight) ? frozen_conv2d(in, frozen_weight(weight), plus, s, values)
                                       : conv2d(in, weight.value, plus, s.stride, s.padding, s.dilation, s.groups, values);
  };
  at::Tensor y = base(x, value_of(bias, weight), values_of(x, weight, bias));
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
