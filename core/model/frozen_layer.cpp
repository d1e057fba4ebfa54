#include "core/model/frozen_layer.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/kernel/frozen_dense.h"
#include "core/kernel/rounded.h"
#include "core/model/block_swap.h"

namespace t2i {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What a product is done in. `rounded`: operands and result are of `type`, and float32 multiplies.
struct Arithmetic {
  at::ScalarType type;
  bool rounded;

  static Arithmetic of(const at::Tensor& x) {
    if (auto type = rounded_type(x)) return {*type, true};
    return {product_type(x), false};
  }
  at::Tensor operand(const at::Tensor& x) const { return rounded ? t2i::rounded(x, type) : x.to(type); }
  at::Tensor operand(const FrozenWeight& weight) const {
    at::Tensor plain = weight.in(type);
    return rounded ? plain.to(at::kFloat) : plain;
  }
  std::optional<at::Tensor> operand(const std::optional<at::Tensor>& bias) const { return bias ? std::optional(operand(*bias)) : bias; }
  at::Tensor result(const at::Tensor& y) const { return y.to(type); }
};

// Everything backward needs, carried by the graph's node.
struct Kept : torch::CustomClassHolder {
  FrozenWeight weight;
  Arithmetic arithmetic;
  ConvShape shape;
  Values values = Values::made;
  at::ScalarType x_type, bias_type;
  at::MemoryFormat x_format;
  std::vector<int64_t> x_sizes;
};

Kept& kept_in(AutogradContext* ctx) { return *c10::static_intrusive_pointer_cast<Kept>(ctx->saved_data["kept"].toCapsule()); }

c10::intrusive_ptr<Kept> keep(const at::Tensor& x, FrozenWeight weight, const std::optional<at::Tensor>& bias, const ConvShape& shape, Values values) {
  auto kept = c10::make_intrusive<Kept>();
  kept->weight = std::move(weight), kept->arithmetic = Arithmetic::of(x), kept->shape = shape, kept->values = values;
  kept->x_type = x.scalar_type(), kept->bias_type = bias ? bias->scalar_type() : at::kFloat;
  kept->x_sizes = x.sizes().vec(), kept->x_format = x.suggest_memory_format();
  return kept;
}

std::vector<int64_t> sizes_of_product(const at::Tensor& x, const FrozenWeight& weight) {
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.back() = weight.shape[0];
  return sizes;
}

std::vector<int64_t> sizes_of_picture(const at::Tensor& x, const FrozenWeight& weight, const ConvShape& s) {
  auto out = [&](size_t d) { return (x.size(static_cast<int64_t>(d)) + 2 * s.padding - s.dilation * (weight.shape[d] - 1) - 1) / s.stride + 1; };
  return {x.size(0), weight.shape[0], out(2), out(3)};
}

struct FrozenLinear : torch::autograd::Function<FrozenLinear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const std::optional<at::Tensor>& bias, c10::intrusive_ptr<Kept> kept) {
    WithoutAutocast as_it_is;
    ctx->saved_data["kept"] = c10::IValue::make_capsule(kept);
    ctx->saved_data["bias"] = bias && bias->requires_grad();
    const Arithmetic& a = kept->arithmetic;
    if (kept->values == Values::left_out) return at::zeros(sizes_of_product(x, kept->weight), x.options().dtype(a.type).requires_grad(false));
    return a.result(at::linear(a.operand(x), a.operand(kept->weight), a.operand(bias)));
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    at::NoGradGuard no_grad;
    WithoutAutocast as_it_is;
    const Kept& kept = kept_in(ctx);
    const Arithmetic& a = kept.arithmetic;
    const at::Tensor g = a.operand(grads[0]).reshape({-1, kept.weight.shape[0]});
    at::Tensor grad_x, grad_bias;
    if (ctx->needs_input_grad(0)) grad_x = a.result(g.mm(a.operand(kept.weight))).view(kept.x_sizes).to(kept.x_type);
    if (ctx->saved_data["bias"].toBool()) grad_bias = a.result(g.sum(0)).to(kept.bias_type);
    return {grad_x, grad_bias, at::Tensor()};
  }
};

struct FrozenConv2d : torch::autograd::Function<FrozenConv2d> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const std::optional<at::Tensor>& bias, c10::intrusive_ptr<Kept> kept) {
    WithoutAutocast as_it_is;
    ctx->saved_data["kept"] = c10::IValue::make_capsule(kept);
    ctx->saved_data["bias"] = bias && bias->requires_grad();
    const Arithmetic& a = kept->arithmetic;
    const ConvShape& s = kept->shape;
    if (kept->values == Values::left_out) return at::zeros(sizes_of_picture(x, kept->weight, s), x.options().dtype(a.type).requires_grad(false));
    return a.result(at::conv2d(a.operand(x), a.operand(kept->weight), a.operand(bias), s.stride, s.padding, s.dilation, s.groups));
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    at::NoGradGuard no_grad;
    WithoutAutocast as_it_is;
    const Kept& kept = kept_in(ctx);
    const Arithmetic& a = kept.arithmetic;
    const ConvShape& s = kept.shape;
    const at::Tensor g = a.operand(grads[0]);
    at::Tensor grad_x, grad_bias;
    if (ctx->needs_input_grad(0)) {
      // Its numbers are not read, but its layout decides in which the gradient is computed.
      const at::Tensor like_x = at::empty(kept.x_sizes, g.options(), kept.x_format);
      grad_x = std::get<0>(at::convolution_backward(g, like_x, a.operand(kept.weight), at::nullopt, {s.stride, s.stride}, {s.padding, s.padding},
                                                    {s.dilation, s.dilation}, false, {0, 0}, s.groups, {true, false, false}));
      grad_x = a.result(grad_x).to(kept.x_type);
    }
    if (ctx->saved_data["bias"].toBool()) grad_bias = a.result(g.sum({0, 2, 3})).to(kept.bias_type);
    return {grad_x, grad_bias, at::Tensor()};
  }
};

}  // namespace

at::Tensor FrozenWeight::in(at::ScalarType type) const {
  at::NoGradGuard no_grad;
  if (swapped) return swapped->in(type);
  return packed ? unpacked(*packed, type) : plain.to(type);
}

FrozenWeight frozen_weight(const Parameter& p) {
  if (p.swapped) return {p.shape, {}, nullptr, p.swapped};
  return {p.shape, p.value, p.packed, nullptr};
}

at::Tensor frozen_linear(const at::Tensor& x, FrozenWeight weight, const std::optional<at::Tensor>& bias, Values values) {
  return FrozenLinear::apply(x, bias, keep(x, std::move(weight), bias, {}, values));
}

at::Tensor frozen_conv2d(const at::Tensor& x, FrozenWeight weight, const std::optional<at::Tensor>& bias, const ConvShape& shape, Values values) {
  return FrozenConv2d::apply(x, bias, keep(x, std::move(weight), bias, shape, values));
}

}  // namespace t2i
