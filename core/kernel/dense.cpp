#include "core/kernel/dense.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/variable.h>

#include "core/base/dry_run.h"
#include "core/kernel/frozen_dense.h"
#include "core/kernel/rounded.h"

namespace t2i {

static bool on_demand = false;
GradientsOnDemand::GradientsOnDemand() { on_demand = true; }
GradientsOnDemand::~GradientsOnDemand() { on_demand = false; }

bool adds_in_place(const at::Tensor& weight) {
  return at::GradMode::is_enabled() && weight.is_cpu() && !in_dry_run_of_gpu() && weight.scalar_type() == at::kFloat && weight.is_leaf() &&
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

// A trained layer. `type`: what the operands are rounded to (rounded.h); float32 for not at all. The input is kept in that
// type.
struct Linear : torch::autograd::Function<Linear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_in, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, at::ScalarType type, bool made) {
    at::Tensor x = x_in.to(type);
    ctx->save_for_backward({x, weight});
    ctx->saved_data["type"] = static_cast<int64_t>(type);
    ctx->saved_data["bias"] = bias && bias->requires_grad();
    if (!made) return no_product(x, weight);
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
    return {grad_x, at::Tensor(), grad_bias, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

bool may_leave_out(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  if (!at::GradMode::is_enabled()) return false;
  if (adds_in_place(weight)) return rounded_type(weight) || in_float32(x);
  return x.requires_grad() && !weight.requires_grad() && !(bias && bias->requires_grad());
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, Values values) {
  const bool made = values == Values::made;
  if (auto type = rounded_type(weight)) {
    WithoutAutocast as_it_is;
    if (adds_in_place(weight)) return Linear::apply(x, weight, bias, *type, made);
    if (!made) return frozen_linear_without_values(x, weight, *type, /*rounds=*/true);
    return at::linear(rounded(x, *type), rounded(weight, *type), bias ? std::optional(rounded(*bias, *type)) : bias)
        .to(*type);
  }
  if (in_float32(x) && adds_in_place(weight)) return Linear::apply(x, weight, bias, at::kFloat, made);
  return made ? at::linear(x, weight, bias) : frozen_linear_without_values(x, weight, product_type(x), /*rounds=*/false);
}

}  // namespace t2i
