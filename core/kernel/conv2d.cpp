#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/kernel/dense.h"
#include "core/kernel/patches.h"

namespace t2i {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Measured against oneDNN on AVX2, two cores, 3 x 3 kernels, batch 1 (bench/step): with 1280 channels at 8 x 8 the
// product is 2.7 times as fast forward and 6 times for the weight's gradient, at 16 x 16 1.6 and 2 times; at 32 x 32
// and 64 x 64 only the weight's gradient gains, by a quarter. Small weights stay with oneDNN.
constexpr int64_t large_weight = 500'000;  // elements
constexpr int64_t few_positions = 512;     // output positions of the whole batch
constexpr int64_t most_columns = 8 << 20;  // floats of unfolded patches at a time

PatchShape patch_shape(const at::Tensor& x, const at::Tensor& weight, int64_t stride, int64_t padding) {
  return {x.size(1), x.size(2), x.size(3), weight.size(2), weight.size(3), stride, padding};
}

// All patches of a batch: [C*kh*kw, B * out_h * out_w].
at::Tensor unfold_batch(const PatchShape& s, const at::Tensor& x_BCHW) {
  int64_t n = s.out_h() * s.out_w(), batch = x_BCHW.size(0), image = x_BCHW.numel() / batch;
  at::Tensor columns = at::empty({s.rows(), batch * n}, x_BCHW.options());
  for (int64_t b = 0; b < batch; ++b)
    unfold_patches(s, x_BCHW.const_data_ptr<float>() + b * image, 0, s.out_h(),
                   columns.mutable_data_ptr<float>() + b * n, batch * n);
  return columns;
}

// [B,O,H,W] <-> [O, B*H*W]; no copy for a batch of one.
at::Tensor channels_first(const at::Tensor& t) {
  return t.size(0) == 1 ? t.contiguous().view({t.size(1), -1}) : t.transpose(0, 1).reshape({t.size(1), -1});
}

at::Tensor product_forward(const PatchShape& s, const at::Tensor& x, const at::Tensor& weight_OK,
                           const std::optional<at::Tensor>& bias) {
  at::Tensor columns = unfold_batch(s, x);
  at::Tensor y = bias ? at::addmm(bias->unsqueeze(1), weight_OK, columns) : weight_OK.mm(columns);
  return y.view({y.size(0), x.size(0), s.out_h(), s.out_w()}).transpose(0, 1).contiguous();
}

at::Tensor product_backward_x(const PatchShape& s, const at::Tensor& x, const at::Tensor& weight_OK,
                              const at::Tensor& g) {
  at::Tensor columns = weight_OK.t().mm(channels_first(g)), grad_x = at::empty(x.sizes(), x.options());
  int64_t n = s.out_h() * s.out_w(), batch = x.size(0), image = x.numel() / batch;
  for (int64_t b = 0; b < batch; ++b)
    fold_patches(s, columns.const_data_ptr<float>() + b * n, batch * n, grad_x.mutable_data_ptr<float>() + b * image);
  return grad_x;
}

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
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_in, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, int64_t stride, int64_t padding) {
    at::Tensor x = x_in.contiguous();
    PatchShape s = patch_shape(x, weight, stride, padding);
    bool product = x.size(0) * s.out_h() * s.out_w() <= few_positions;
    ctx->save_for_backward({x, weight});
    ctx->saved_data["stride"] = stride, ctx->saved_data["padding"] = padding, ctx->saved_data["product"] = product;
    ctx->saved_data["bias"] = bias && bias->requires_grad();
    return product ? product_forward(s, x, weight.view({weight.size(0), -1}), bias)
                   : at::conv2d(x, weight, bias, stride, padding);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    int64_t stride = ctx->saved_data["stride"].toInt(), padding = ctx->saved_data["padding"].toInt();
    at::NoGradGuard no_grad;
    PatchShape s = patch_shape(x, weight, stride, padding);
    at::Tensor g = grads[0].contiguous(), grad_x, grad_bias;
    if (ctx->needs_input_grad(0)) {
      if (ctx->saved_data["product"].toBool()) grad_x = product_backward_x(s, x, weight.view({weight.size(0), -1}), g);
      else
        grad_x = std::get<0>(at::convolution_backward(g, x, weight, at::nullopt, {stride, stride}, {padding, padding},
                                                      {1, 1}, false, {0, 0}, 1, {true, false, false}));
    }
    add_weight_gradient(s, x, g, weight.grad().view({weight.size(0), -1}));
    if (ctx->saved_data["bias"].toBool()) grad_bias = g.sum({0, 2, 3});
    return {grad_x, at::Tensor(), grad_bias, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor conv2d(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, int64_t stride,
                  int64_t padding, int64_t dilation, int64_t groups) {
  bool ours = dilation == 1 && groups == 1 && weight.numel() >= large_weight && adds_in_place(x, weight);
  return ours ? Conv2d::apply(x, weight, bias, stride, padding)
              : at::conv2d(x, weight, bias, stride, padding, dilation, groups);
}

}  // namespace t2i
