#include "core/kernel/convolve.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/base/dry_run.h"
#include "core/kernel/processor.h"
#include "core/kernel/winograd.h"

namespace t2i {
namespace {

// Measured on AVX2, two cores (bench/step), against oneDNN: 3 x 3 by Winograd, batch 1, with 320 channels at 64 x
// 64 2.2 times as fast forward, 2.3 for the input's gradient and 2.6 for the weight's; with 640 at 32 x
// 32 1.7, 1.6, 2.2; with 1280 at 16 x 16 1.4, 1.1, 1.6; batch 32 with 64 channels at 8 x 8 1.5, 1.7, 1.7. With 1280 at
// 8 x 8, batch 1, a product over unfolded patches is fastest: the weight is read once. Other convolutions with small
// weights stay with oneDNN.
constexpr int64_t few_positions = 512;  // output positions of the whole batch
constexpr int64_t enough_tiles = 64;    // of Winograd's: below, transformed weights cost more than is saved
constexpr int64_t few_tiles = 32;       // enough where the weight is not large
constexpr int64_t least_channels = 16;

at::Tensor product(const PatchShape& s, const at::Tensor& x, const at::Tensor& weight_OK, const std::optional<at::Tensor>& bias) {
  at::Tensor columns = unfold_batch(s, x);
  at::Tensor y = bias ? at::addmm(bias->unsqueeze(1), weight_OK, columns) : weight_OK.mm(columns);
  return y.view({y.size(0), x.size(0), s.out_h(), s.out_w()}).transpose(0, 1).contiguous();
}

at::Tensor product_back(const PatchShape& s, const at::Tensor& g, at::IntArrayRef x_sizes, const at::Tensor& weight_OK) {
  at::Tensor columns = weight_OK.t().mm(channels_first(g)), grad_x = at::empty(x_sizes, g.options());
  const int64_t n = s.out_h() * s.out_w(), batch = x_sizes[0], image = grad_x.numel() / batch;
  for (int64_t b = 0; b < batch; ++b)
    fold_patches(s, columns.const_data_ptr<float>() + b * n, batch * n, grad_x.mutable_data_ptr<float>() + b * image);
  return grad_x;
}

// `like`: what is multiplied with the weight.
Way way_for(const at::Tensor& like, at::IntArrayRef x_sizes, const at::Tensor& weight, const Stride& s) {
  auto plain = [](const at::Tensor& t) { return t.is_cpu() && t.scalar_type() == at::kFloat && t.dim() == 4 && t.numel() > 0; };
  if (!plain(like) || !plain(weight) || in_dry_run_of_gpu() || s.dilation != 1 || s.groups != 1 || x_sizes.size() != 4 || x_sizes[1] != weight.size(1))
    return Way::direct;
  return way_of(patch_shape(x_sizes, weight, s), x_sizes[0], weight);
}

}  // namespace

PatchShape patch_shape(at::IntArrayRef x_sizes, const at::Tensor& weight, const Stride& s) {
  return {x_sizes[1], x_sizes[2], x_sizes[3], weight.size(2), weight.size(3), s.stride, s.padding};
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

at::Tensor unfold_batch(const PatchShape& s, const at::Tensor& x_BCHW) {
  int64_t n = s.out_h() * s.out_w(), batch = x_BCHW.size(0), image = x_BCHW.numel() / batch;
  at::Tensor columns = at::empty({s.rows(), batch * n}, x_BCHW.options());
  for (int64_t b = 0; b < batch; ++b)
    unfold_patches(s, x_BCHW.const_data_ptr<float>() + b * image, 0, s.out_h(),
                   columns.mutable_data_ptr<float>() + b * n, batch * n);
  return columns;
}

at::Tensor channels_first(const at::Tensor& t) {
  return t.size(0) == 1 ? t.contiguous().view({t.size(1), -1}) : t.transpose(0, 1).reshape({t.size(1), -1});
}

at::Tensor convolve(const at::Tensor& x, const at::Tensor& weight_in, const std::optional<at::Tensor>& bias, const Stride& s) {
  const Way way = way_for(x, x.sizes(), weight_in, s);
  if (way == Way::direct) return at::conv2d(x, weight_in, bias, s.stride, s.padding, s.dilation, s.groups);
  const at::Tensor weight = weight_in.contiguous();
  if (way == Way::product) return product(patch_shape(x.sizes(), weight, s), x.contiguous(), weight.view({weight.size(0), -1}), bias);
  return winograd_forward(static_cast<int64_t>(way), x.contiguous(), weight, bias ? std::optional(bias->contiguous()) : bias);
}

at::Tensor convolve_back(const at::Tensor& g, at::IntArrayRef x_sizes, const at::Tensor& weight_in, const Stride& s) {
  const Way way = way_for(g, x_sizes, weight_in, s);
  if (way == Way::direct) {
    const at::Tensor of_its_sizes = at::empty({1}, g.options()).expand(x_sizes);  // its numbers are not read
    return std::get<0>(at::convolution_backward(g, of_its_sizes, weight_in, at::nullopt, {s.stride, s.stride}, {s.padding, s.padding},
                                                {s.dilation, s.dilation}, false, {0, 0}, s.groups, {true, false, false}));
  }
  const at::Tensor weight = weight_in.contiguous();
  if (way == Way::product) return product_back(patch_shape(x_sizes, weight, s), g, x_sizes, weight.view({weight.size(0), -1}));
  return winograd_input_gradient(static_cast<int64_t>(way), g.contiguous(), x_sizes, weight);
}

}  // namespace t2i
