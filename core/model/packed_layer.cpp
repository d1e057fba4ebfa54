#include "core/model/packed_layer.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/kernel/rounded.h"

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
    const at::DeviceType device = x.device().type();
    return {at::autocast::is_autocast_enabled(device) ? at::autocast::get_autocast_dtype(device) : x.scalar_type(), false};
  }
  at::Tensor operand(const at::Tensor& x) const { return rounded ? t2i::rounded(x, type) : x.to(type); }
  at::Tensor operand(const PackedWeight& weight) const {
    at::Tensor plain = unpacked(weight, type);
    return rounded ? plain.to(at::kFloat) : plain;
  }
  std::optional<at::Tensor> operand(const std::optional<at::Tensor>& bias) const { return bias ? std::optional(operand(*bias)) : bias; }
  at::Tensor result(const at::Tensor& y) const { return y.to(type); }
};

// Everything backward needs, carried by the graph's node.
struct Kept : torch::CustomClassHolder {
  std::shared_ptr<const PackedWeight> weight;
  Arithmetic arithmetic;
  ConvShape shape;
  Values values = Values::made;
  at::ScalarType x_type, bias_type;
  std::vector<int64_t> x_sizes;
};

Kept& kept_in(AutogradContext* ctx) { return *c10::static_intrusive_pointer_cast<Kept>(ctx->saved_data["kept"].toCapsule()); }

c10::intrusive_ptr<Kept> keep(const at::Tensor& x, std::shared_ptr<const PackedWeight> weight, const std::optional<at::Tensor>& bias,
                              const ConvShape& shape) {
  auto kept = c10::make_intrusive<Kept>();
  kept->weight = std::move(weight), kept->arithmetic = Arithmetic::of(x), kept->shape = shape;
  kept->x_type = x.scalar_type(), kept->bias_type = bias ? bias->scalar_type() : at::kFloat;
  kept->x_sizes = x.sizes().vec();
  return kept;
}

std::vector<int64_t> sizes_of_product(const at::Tensor& x, const PackedWeight& weight) {
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.back() = weight.shape[0];
  return sizes;
}

std::vector<int64_t> sizes_of_picture(const at::Tensor& x, const PackedWeight& weight, const ConvShape& s) {
  auto out = [&](size_t d) { return (x.size(static_cast<int64_t>(d)) + 2 * s.padding - s.dilation * (weight.shape[d] - 1) - 1) / s.stride + 1; };
  return {x.size(0), weight.shape[0], out(2), out(3)};
}

struct PackedLinear : torch::autograd::Function<PackedLinear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const std::optional<at::Tensor>& bias, c10::intrusive_ptr<Kept> kept) {
    WithoutAutocast as_it_is;
    ctx->saved_data["kept"] = c10::IValue::make_capsule(kept);
    ctx->saved_data["bias"] = bias && bias->requires_grad();
    const Arithmetic& a = kept->arithmetic;
    if (kept->values == Values::left_out) return at::zeros(sizes_of_product(x, *kept->weight), x.options().dtype(a.type).requires_grad(false));
    return a.result(at::linear(a.operand(x), a.operand(*kept->weight), a.operand(bias)));
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    at::NoGradGuard no_grad;
    WithoutAutocast as_it_is;
    const Kept& kept = kept_in(ctx);
    const Arithmetic& a = kept.arithmetic;
    const at::Tensor g = a.operand(grads[0]);
    at::Tensor grad_x, grad_bias;
    if (ctx->needs_input_grad(0)) grad_x = a.result(g.matmul(a.operand(*kept.weight))).to(kept.x_type);
    if (ctx->saved_data["bias"].toBool()) grad_bias = g.reshape({-1, g.size(-1)}).sum(0).to(kept.bias_type);
    return {grad_x, grad_bias, at::Tensor()};
  }
};

struct PackedConv2d : torch::autograd::Function<PackedConv2d> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const std::optional<at::Tensor>& bias, c10::intrusive_ptr<Kept> kept) {
    WithoutAutocast as_it_is;
    ctx->saved_data["kept"] = c10::IValue::make_capsule(kept);
    ctx->saved_data["bias"] = bias && bias->requires_grad();
    const Arithmetic& a = kept->arithmetic;
    const ConvShape& s = kept->shape;
    if (kept->values == Values::left_out) return at::zeros(sizes_of_picture(x, *kept->weight, s), x.options().dtype(a.type).requires_grad(false));
    return a.result(at::conv2d(a.operand(x), a.operand(*kept->weight), a.operand(bias), s.stride, s.padding, s.dilation, s.groups));
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
      const at::Tensor sizes_of_x = at::empty({1}, g.options()).expand(kept.x_sizes);  // its numbers are not read
      grad_x = std::get<0>(at::convolution_backward(g, sizes_of_x, a.operand(*kept.weight), at::nullopt, {s.stride, s.stride}, {s.padding, s.padding},
                                                    {s.dilation, s.dilation}, false, {0, 0}, s.groups, {true, false, false}));
      grad_x = a.result(grad_x).to(kept.x_type);
    }
    if (ctx->saved_data["bias"].toBool()) grad_bias = g.sum({0, 2, 3}).to(kept.bias_type);
    return {grad_x, grad_bias, at::Tensor()};
  }
};

}  // namespace

at::Tensor packed_linear(const at::Tensor& x, std::shared_ptr<const PackedWeight> weight, const std::optional<at::Tensor>& bias, Values values) {
  auto kept = keep(x, std::move(weight), bias, {});
  kept->values = values;
  return PackedLinear::apply(x, bias, kept);
}

at::Tensor packed_conv2d(const at::Tensor& x, std::shared_ptr<const PackedWeight> weight, const std::optional<at::Tensor>& bias,
                         const ConvShape& shape, Values values) {
  auto kept = keep(x, std::move(weight), bias, shape);
  kept->values = values;
  return PackedConv2d::apply(x, bias, kept);
}

}  // namespace t2i
