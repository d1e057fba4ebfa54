#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/kernel/dense.h"
#include "core/kernel/frozen_dense.h"
#include "core/kernel/patches.h"
#include "core/kernel/processor.h"
#include "core/kernel/rounded.h"
#include "core/kernel/winograd.h"

namespace t2i {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Measured on AVX2, two cores (bench/step), against oneDNN: 3 x 3 by Winograd, batch 1, with 320 channels at 64 x
// 64 2.2 times as fast forward, 2.3 for the input's gradient and 2.6 for the weight's; with 640 at 32 x
// 32 1.7, 1.6, 2.2; with 1280 at 16 x 16 1.4, 1.1, 1.6; batch 32 with 64 channels at 8 x 8 1.5, 1.7, 1.7. With 1280 at
// 8 x 8, batch 1, a product over unfolded patches is fastest: the weight is read once. Other convolutions with small
// weights stay with oneDNN.
constexpr int64_t large_weight = 500'000;  // elements
constexpr int64_t few_positions = 512;     // output positions of the whole batch
constexpr int64_t enough_tiles = 64;       // of Winograd's: below, transformed weights cost more than is saved
constexpr int64_t few_tiles = 32;          // enough where the weight is not large
constexpr int64_t least_channels = 16;
constexpr int64_t most_columns = 8 << 20;  // floats of unfolded patches at a time

// How a convolution is done: by Winograd with tiles of 2 or 4, as a product over patches, or by oneDNN where there are
// many positions and only the weight's gradient is a product.
enum class Way : int64_t { winograd2 = 2, winograd4 = 4, product, direct };

PatchShape patch_shape(const at::Tensor& x, const at::Tensor& weight, int64_t stride, int64_t padding) {
  return {x.size(1), x.size(2), x.size(3), weight.size(2), weight.size(3), stride, padding};
}

Way way_of(const PatchShape& s, int64_t batch, const at::Tensor& weight) {
  auto tiles = [&](int64_t m) { return batch * ((s.height + m - 1) / m) * ((s.width + m - 1) / m); };
  const bool large = weight.numel() >= large_weight;
  const bool fits = s.kernel_h == 3 && s.kernel_w == 3 && s.stride == 1 && s.padding == 1 &&
                    std::min(weight.size(0), weight.size(1)) >= least_channels;
  if (fits && has_wide_floats()) {
    if (tiles(4) >= (large ? enough_tiles : few_tiles)) return Way::winograd4;
    if (large && tiles(2) >= enough_tiles) return Way::winograd2;
  }
  if (!large) return Way::direct;
  return batch * s.out_h() * s.out_w() <= few_positions ? Way::product : Way::direct;
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
    at::Tensor x = kept.to(at::kFloat), weight = as(type, weight_in);
    std::optional<at::Tensor> bias = bias_in ? std::optional(as(type, *bias_in)) : std::nullopt;
    PatchShape s = patch_shape(x, weight, stride, padding);
    Way way = way_of(s, x.size(0), weight);
    if (way == Way::product) return product_forward(s, x, weight.view({weight.size(0), -1}), bias).to(type);
    if (way == Way::direct) return at::conv2d(x, weight, bias, stride, padding).to(type);
    return winograd_forward(static_cast<int64_t>(way), x, weight, bias).to(type);
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
    PatchShape s = patch_shape(x, weight, stride, padding);
    Way way = way_of(s, x.size(0), weight);
    if (way == Way::winograd2 || way == Way::winograd4) {
      grad_x = winograd_backward(static_cast<int64_t>(way), g, x, weight, place, wants_grad_x);
    } else {
      if (wants_grad_x && way == Way::product) grad_x = product_backward_x(s, x, weight.view({weight.size(0), -1}), g);
      if (wants_grad_x && way == Way::direct)
        grad_x = std::get<0>(at::convolution_backward(g, x, weight, at::nullopt, {stride, stride}, {padding, padding},
                                                      {1, 1}, false, {0, 0}, 1, {true, false, false}));
      add_weight_gradient(s, x, g, place.view({weight.size(0), -1}));
    }
    if (grad_x.defined()) grad_x = grad_x.to(type);
    if (ctx->saved_data["bias"].toBool()) grad_bias = g.sum({0, 2, 3});
    return {grad_x, at::Tensor(), grad_bias, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
  static at::Tensor as(at::ScalarType type, const at::Tensor& t) { return type == at::kFloat ? t : rounded(t, type); }
};

}  // namespace

at::Tensor conv2d(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, int64_t stride,
                  int64_t padding, int64_t dilation, int64_t groups, Values values) {
  const bool made = values == Values::made;
  bool ours = dilation == 1 && groups == 1 && adds_in_place(weight);
  if (ours && weight.numel() < large_weight) {  // ATen's own where nothing but the weight's gradient would be ours
    Way way = way_of(patch_shape(x, weight, stride, padding), x.size(0), weight);
    ours = way == Way::winograd4;
  }
  const Stride s{stride, padding, dilation, groups};
  const bool frozen = !weight.requires_grad();
  if (auto type = rounded_type(weight)) {
    WithoutAutocast as_it_is;
    if (ours) return Conv2d::apply(x, weight, bias, stride, padding, *type, made);
    if (!made && frozen) return frozen_conv2d_without_values(x, weight, s, *type, /*rounds=*/true);
    return at::conv2d(rounded(x, *type), rounded(weight, *type), bias ? std::optional(rounded(*bias, *type)) : bias,
                      stride, padding, dilation, groups)
        .to(*type);
  }
  if (ours && in_float32(x)) return Conv2d::apply(x, weight, bias, stride, padding, at::kFloat, made);
  if (!made && frozen) return frozen_conv2d_without_values(x, weight, s, product_type(x), /*rounds=*/false);
  return at::conv2d(x, weight, bias, stride, padding, dilation, groups);
}

}  // namespace t2i
