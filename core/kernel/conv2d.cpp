#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "core/base/dry_run.h"
#include "core/kernel/convolve.h"
#include "core/kernel/dense.h"
#include "core/kernel/frozen_dense.h"
#include "core/kernel/rounded.h"
#include "core/kernel/winograd.h"

namespace t2i {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t most_columns = 8 << 20;  // floats of unfolded patches at a time

// grad_OK += g x patches^T, a few output rows at a time: unfolded patches are kernel-size times the picture.
void add_weight_gradient(const PatchShape& s, const at::Tensor& x, const at::Tensor& g_BOHW, at::Tensor grad_OK) {
  int64_t batch = x.size(0), image = x.numel() / batch, out_w = s.out_w(), out_h = s.out_h();
  if (batch * out_h * out_w * s.rows() <= most_columns) {
    grad_OK.addmm_(channels_first(g_BOHW), unfold_batch(s, x).t());
    return;
  }
  int64_t rows_at_once = std::clamp<int64_t>(most_columns / (s.rows() * out_w), 1, out_h);
  at::Tensor columns = at::empty({s.rows(), rows_at_once * out_w}, x.options());
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t y = 0; y < out_h; y += rows_at_once) {
      int64_t end = std::min(y + rows_at_once, out_h), n = (end - y) * out_w;
      unfold_patches(s, x.const_data_ptr<float>() + b * image, y, end, columns.mutable_data_ptr<float>(),
                     columns.size(1));
      grad_OK.addmm_(g_BOHW[b].view({g_BOHW.size(1), -1}).narrow(1, y * out_w, n), columns.narrow(1, 0, n).t());
    }
}

struct Conv2d : torch::autograd::Function<Conv2d> {
  // `type`: what the operands are rounded to (rounded.h); float32 for not at all. The input is kept in that type.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_in, const at::Tensor& weight_in,
                            const std::optional<at::Tensor>& bias_in, int64_t stride, int64_t padding,
                            at::ScalarType type, bool made) {
    at::Tensor kept = x_in.to(type).contiguous();
    ctx->save_for_backward({kept, weight_in});
    ctx->saved_data["stride"] = stride, ctx->saved_data["padding"] = padding;
    ctx->saved_data["type"] = static_cast<int64_t>(type);
    ctx->saved_data["bias"] = bias_in && bias_in->requires_grad();
    if (!made) return no_convolution(kept, weight_in, {stride, padding, 1});
    std::optional<at::Tensor> bias = bias_in ? std::optional(as(type, *bias_in)) : std::nullopt;
    return convolve(kept.to(at::kFloat), as(type, weight_in), bias, {stride, padding}).to(type);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    int64_t stride = ctx->saved_data["stride"].toInt(), padding = ctx->saved_data["padding"].toInt();
    at::ScalarType type = static_cast<at::ScalarType>(ctx->saved_data["type"].toInt());
    bool wants_grad_x = ctx->needs_input_grad(0);
    at::NoGradGuard no_grad;
    WithoutAutocast as_it_is;
    at::Tensor x = saved[0].to(at::kFloat), weight = wants_grad_x ? as(type, saved[1]) : saved[1],
               place = gradient_place(saved[1]);
    at::Tensor g = grads[0].to(at::kFloat).contiguous(), grad_x, grad_bias;
    PatchShape s = patch_shape(x.sizes(), weight, {stride, padding});
    Way way = way_of(s, x.size(0), weight);
    if (way == Way::winograd2 || way == Way::winograd4) {
      grad_x = winograd_backward(static_cast<int64_t>(way), g, x, weight, place, wants_grad_x);
    } else {
      if (wants_grad_x) grad_x = convolve_back(g, x.sizes(), weight, {stride, padding});
      add_weight_gradient(s, x, g, place.view({weight.size(0), -1}));
    }
    if (grad_x.defined()) grad_x = grad_x.to(type);
    if (ctx->saved_data["bias"].toBool()) grad_bias = g.sum({0, 2, 3});
    return {grad_x, at::Tensor(), grad_bias, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
  static at::Tensor as(at::ScalarType type, const at::Tensor& t) { return type == at::kFloat ? t : rounded(t, type); }
};

}  // namespace

// A trained weight whose gradient is added in place, where more than that is gained.
static bool is_trained_here(const at::Tensor& x, const at::Tensor& weight, const Stride& s) {
  if (s.dilation != 1 || s.groups != 1 || !adds_in_place(weight)) return false;
  return weight.numel() >= large_weight || way_of(patch_shape(x.sizes(), weight, s), x.size(0), weight) == Way::winograd4;
}

at::Tensor conv2d(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, int64_t stride,
                  int64_t padding, int64_t dilation, int64_t groups, Values values) {
  const bool made = values == Values::made;
  const Stride s{stride, padding, dilation, groups};
  const bool ours = is_trained_here(x, weight, s);
  // Without a graph a trained weight goes the way that it goes with one: a block that is run again makes the same bits.
  const bool as_frozen = !weight.requires_grad() || !at::GradMode::is_enabled();
  if (auto type = rounded_type(weight)) {
    WithoutAutocast as_it_is;
    if (ours) return Conv2d::apply(x, weight, bias, stride, padding, *type, made);
    if (as_frozen) return frozen_conv2d(x, weight, bias, s, *type, /*rounds=*/true, made);
    return at::conv2d(rounded(x, *type), rounded(weight, *type), bias ? std::optional(rounded(*bias, *type)) : bias,
                      stride, padding, dilation, groups)
        .to(*type);
  }
  if (ours && in_float32(x)) return Conv2d::apply(x, weight, bias, stride, padding, at::kFloat, made);
  const bool in_floats = x.is_cpu() && !in_dry_run_of_gpu() && in_float32(x) && weight.scalar_type() == at::kFloat;
  if (as_frozen && (in_floats || !made)) return frozen_conv2d(x, weight, bias, s, product_type(x), /*rounds=*/false, made);
  return at::conv2d(x, weight, bias, stride, padding, dilation, groups);
}

}  // namespace t2i
