// The product of a convolution and the gradient of its input, without a graph. In float32 on a CPU the fastest of several ways is
// chosen by shapes; elsewhere, and for shapes that are not known to gain, they are ATen's.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>

#include "core/kernel/patches.h"

namespace t2i {

struct Stride {
  int64_t stride = 1, padding = 0, dilation = 1, groups = 1;
};

// By Winograd with tiles of 2 or 4 (winograd.h), as one matrix product over unfolded patches, or ATen's.
enum class Way : int64_t { winograd2 = 2, winograd4 = 4, product, direct };

constexpr int64_t large_weight = 500'000;  // elements

// x [B,C,H,W], weight [O,C,kh,kw], one that fits the other; of float32 in host memory, dilation and groups 1.
PatchShape patch_shape(at::IntArrayRef x_sizes, const at::Tensor& weight, const Stride& s);
Way way_of(const PatchShape& shape, int64_t batch, const at::Tensor& weight);

// x [B,C,H,W], weight [O,C/groups,kh,kw], bias [O] or nothing -> [B,O,H',W'].
at::Tensor convolve(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias, const Stride& s);
// g [B,O,H',W'] -> [B,C,H,W], which are `x_sizes`. The input itself is not needed.
at::Tensor convolve_back(const at::Tensor& g, at::IntArrayRef x_sizes, const at::Tensor& weight, const Stride& s);

// All patches of a batch: [C*kh*kw, B * out_h * out_w].
at::Tensor unfold_batch(const PatchShape& s, const at::Tensor& x_BCHW);
// [B,O,H,W] -> [O, B*H*W]; no copy for a batch of one.
at::Tensor channels_first(const at::Tensor& t);

}  // namespace t2i
