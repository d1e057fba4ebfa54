#include "core/kernel/dense.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/variable.h>

namespace t2i {

bool adds_in_place(const at::Tensor& x, const at::Tensor& weight) {
  return at::GradMode::is_enabled() && weight.is_cpu() && weight.scalar_type() == at::kFloat &&
         x.scalar_type() == at::kFloat && weight.is_leaf() && weight.requires_grad() && weight.grad().defined() &&
         weight.grad().is_contiguous() && weight.is_contiguous() && !at::autocast::is_autocast_enabled(at::kCPU);
}

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Linear : torch::autograd::Function<Linear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias) {
    ctx->save_for_backward({x, weight});
    ctx->saved_data["bias"] = bias && bias->requires_grad();
    return at::linear(x, weight, bias);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    at::NoGradGuard no_grad;
    at::Tensor g = grads[0].reshape({-1, weight.size(0)});
    at::Tensor grad_x, grad_bias;
    if (ctx->needs_input_grad(0)) grad_x = g.mm(weight).view(x.sizes());
    weight.grad().addmm_(g.t(), x.reshape({-1, weight.size(1)}));  // an undefined gradient still wakes post-accumulate hooks
    if (ctx->saved_data["bias"].toBool()) grad_bias = g.sum(0);
    return {grad_x, at::Tensor(), grad_bias};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  return adds_in_place(x, weight) ? Linear::apply(x, weight, bias) : at::linear(x, weight, bias);
}

}  // namespace t2i
