#include "core/kernel/frozen_dense.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/kernel/rounded.h"

namespace t2i {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor operand(const at::Tensor& t, at::ScalarType type, bool rounds) { return rounds ? rounded(t, type) : t.to(type); }

struct LinearGraph : torch::autograd::Function<LinearGraph> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, at::ScalarType type, bool rounds) {
    ctx->save_for_backward({weight});
    ctx->saved_data["type"] = static_cast<int64_t>(type), ctx->saved_data["rounds"] = rounds;
    ctx->saved_data["sizes"] = x.sizes().vec(), ctx->saved_data["x_type"] = static_cast<int64_t>(x.scalar_type());
    return no_product(x, weight).to(type);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::Tensor weight = ctx->get_saved_variables()[0];
    const auto type = static_cast<at::ScalarType>(ctx->saved_data["type"].toInt()), x_type = static_cast<at::ScalarType>(ctx->saved_data["x_type"].toInt());
    const bool rounds = ctx->saved_data["rounds"].toBool();
    at::NoGradGuard no_grad;
    WithoutAutocast as_it_is;
    at::Tensor g = (rounds ? grads[0].to(at::kFloat) : grads[0]).reshape({-1, weight.size(0)});
    at::Tensor grad_x = g.mm(operand(weight, type, rounds)).view(ctx->saved_data["sizes"].toIntVector());
    return {grad_x.to(type).to(x_type), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

// Of the input it keeps the sizes: its gradient needs the weight alone.
struct FrozenConv2d : torch::autograd::Function<FrozenConv2d> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, int64_t stride,
                            int64_t padding, int64_t dilation, int64_t groups, at::ScalarType type, bool rounds, bool made) {
    ctx->save_for_backward({weight});
    ctx->saved_data["shape"] = std::vector<int64_t>{stride, padding, dilation, groups};
    ctx->saved_data["type"] = static_cast<int64_t>(type), ctx->saved_data["rounds"] = rounds;
    ctx->saved_data["sizes"] = x.sizes().vec(), ctx->saved_data["x_type"] = static_cast<int64_t>(x.scalar_type());
    ctx->saved_data["bias"] = bias && bias->requires_grad();
    const Stride s{stride, padding, dilation, groups};
    if (!made) return no_convolution(x, weight, s).to(type);
    return convolve(operand(x, type, rounds), operand(weight, type, rounds), bias ? std::optional(operand(*bias, type, rounds)) : bias, s).to(type);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::Tensor weight = ctx->get_saved_variables()[0];
    const auto type = static_cast<at::ScalarType>(ctx->saved_data["type"].toInt()), x_type = static_cast<at::ScalarType>(ctx->saved_data["x_type"].toInt());
    const bool rounds = ctx->saved_data["rounds"].toBool();
    const auto s = ctx->saved_data["shape"].toIntVector();
    at::NoGradGuard no_grad;
    WithoutAutocast as_it_is;
    at::Tensor g = rounds ? grads[0].to(at::kFloat) : grads[0], grad_x, grad_bias;
    if (ctx->needs_input_grad(0))
      grad_x = convolve_back(g, ctx->saved_data["sizes"].toIntVector(), operand(weight, type, rounds), {s[0], s[1], s[2], s[3]}).to(type).to(x_type);
    if (ctx->saved_data["bias"].toBool()) grad_bias = g.sum({0, 2, 3});
    return {grad_x, at::Tensor(), grad_bias, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor no_product(const at::Tensor& x, const at::Tensor& weight) {
  auto sizes = x.sizes().vec();
  sizes.back() = weight.size(0);
  return at::zeros(sizes, x.options().requires_grad(false));
}

at::Tensor no_convolution(const at::Tensor& x, const at::Tensor& weight, const Stride& s) {
  auto out = [&](int64_t d) { return (x.size(d) + 2 * s.padding - s.dilation * (weight.size(d) - 1) - 1) / s.stride + 1; };
  return at::zeros({x.size(0), weight.size(0), out(2), out(3)}, x.options().requires_grad(false));
}

at::ScalarType product_type(const at::Tensor& x) {
  const at::DeviceType device = x.device().type();
  return at::autocast::is_autocast_enabled(device) ? at::autocast::get_autocast_dtype(device) : x.scalar_type();
}

at::Tensor frozen_linear_without_values(const at::Tensor& x, const at::Tensor& weight, at::ScalarType type, bool rounds) {
  return LinearGraph::apply(x, weight, type, rounds);
}

at::Tensor frozen_conv2d(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, const Stride& s, at::ScalarType type,
                         bool rounds, bool made) {
  return FrozenConv2d::apply(x, weight, bias, s.stride, s.padding, s.dilation, s.groups, type, rounds, made);
}

}  // namespace t2i
