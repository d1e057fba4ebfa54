#include "core/kernel/dense.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/variable.h>

#include "core/kernel/rounded.h"

namespace t2i {

static bool on_demand = false;
GradientsOnDemand::GradientsOnDemand() { on_demand = true; }
GradientsOnDemand::~GradientsOnDemand() { on_demand = false; }

bool adds_in_place(const at::Tensor& weight) {
  return at::GradMode::is_enabled() && weight.is_cpu() && weight.scalar_type() == at::kFloat && weight.is_leaf() &&
         weight.requires_grad() && weight.is_contiguous() &&
         (weight.grad().defined() ? weight.grad().is_contiguous() : on_demand);
}

at::Tensor gradient_place(const at::Tensor& weight) {
  if (!weight.grad().defined()) weight.mutable_grad() = at::zeros_like(weight);
  return weight.grad();
}

bool in_float32(const at::Tensor& x) {
  return x.scalar_type() == at::kFloat && !at::autocast::is_autocast_enabled(at::kCPU);
}

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// `type`: what the operands are rounded to (rounded.h); float32 for not at all. The input is kept in that type.
struct Linear : torch::autograd::Function<Linear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_in, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, at::ScalarType type) {
    at::Tensor x = x_in.to(type);
    ctx->save_for_backward({x, weight});
    ctx->saved_data["type"] = static_cast<int64_t>(type);
    ctx->saved_data["bias"] = bias && bias->requires_grad();
    if (type == at::kFloat) return at::linear(x, weight, bias);
    return at::linear(x.to(at::kFloat), rounded(weight, type), bias ? std::optional(rounded(*bias, type)) : bias)
        .to(type);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    at::ScalarType type = static_cast<at::ScalarType>(ctx->saved_data["type"].toInt());
    at::NoGradGuard no_grad;
    WithoutAutocast as_it_is;
    at::Tensor x = saved[0].to(at::kFloat), weight = saved[1],
               g = grads[0].to(at::kFloat).reshape({-1, weight.size(0)});
    at::Tensor grad_x, grad_bias;
    if (ctx->needs_input_grad(0))
      grad_x = g.mm(type == at::kFloat ? weight : rounded(weight, type)).view(x.sizes()).to(type);
    gradient_place(weight).addmm_(g.t(), x.reshape({-1, weight.size(1)}));  // an undefined gradient still wakes post-accumulate hooks
    if (ctx->saved_data["bias"].toBool()) grad_bias = g.sum(0);
    return {grad_x, at::Tensor(), grad_bias, at::Tensor()};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  if (auto type = rounded_type(weight)) {
    WithoutAutocast as_it_is;
    if (adds_in_place(weight)) return Linear::apply(x, weight, bias, *type);
    return at::linear(rounded(x, *type), rounded(weight, *type), bias ? std::optional(rounded(*bias, *type)) : bias)
        .to(*type);
  }
  return in_float32(x) && adds_in_place(weight) ? Linear::apply(x, weight, bias, at::kFloat)
                                                : at::linear(x, weight, bias);
}

}  // namespace t2i
