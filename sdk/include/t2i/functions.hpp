// t2i/functions.hpp - the functions that models are written with, as named wrappers over op<>(). Each takes and gives
// tensors; gradients are recorded by the core. Shapes in comments: B batch, C channels, H W image, L sequence, D width.
#pragma once
#include <t2i/t2i.hpp>

#include <cmath>
#include <string>

namespace t2i __attribute__((visibility("hidden"))) {

// ---- shape: views where the strides allow it, copies where not ----
inline Tensor view(const Tensor& x, const std::vector<int64_t>& shape) { return op<"view">({x, shape}); }
inline Tensor reshape(const Tensor& x, const std::vector<int64_t>& shape) { return op<"reshape">({x, shape}); }
inline Tensor permute(const Tensor& x, const std::vector<int64_t>& dims) { return op<"permute">({x, dims}); }
inline Tensor transpose(const Tensor& x, int a, int b) { return op<"transpose.int">({x, a, b}); }
inline Tensor flatten(const Tensor& x, int from, int to_dim = -1) { return op<"flatten.using_ints">({x, from, to_dim}); }
inline Tensor unsqueeze(const Tensor& x, int dim) { return op<"unsqueeze">({x, dim}); }
inline Tensor squeeze(const Tensor& x, int dim) { return op<"squeeze.dim">({x, dim}); }
inline Tensor expand(const Tensor& x, const std::vector<int64_t>& shape) { return op<"expand">({x, shape}); }
// Elements begin...end-1 of dimension `dim`.
inline Tensor slice(const Tensor& x, int dim, int64_t begin, int64_t end) {
  return op<"slice.Tensor">({x, dim, begin, end});
}
// The two halves of dimension `dim`.
inline std::array<Tensor, 2> halves(const Tensor& x, int dim) {
  int64_t n = x.size(dim);
  return {slice(x, dim, 0, n / 2), slice(x, dim, n / 2, n)};
}

// ---- activations ----
inline Tensor silu(const Tensor& x) { return op<"silu">({x}); }
inline Tensor gelu(const Tensor& x) { return op<"gelu">({x}); }
inline Tensor gelu_tanh(const Tensor& x) { return op<"gelu">({x, "tanh"}); }
inline Tensor relu(const Tensor& x) { return op<"relu">({x}); }
inline Tensor mish(const Tensor& x) { return op<"mish">({x}); }
inline Tensor sigmoid(const Tensor& x) { return op<"sigmoid">({x}); }
inline Tensor quick_gelu(const Tensor& x) { return x * sigmoid(x * 1.702); }
inline Tensor softmax(const Tensor& x, int dim) { return op<"softmax.int">({x, dim}); }
// [..., 2d] -> [..., d]: the first half times gelu of the second.
inline Tensor geglu(const Tensor& x) { return op<"t2i::geglu">({x}); }

// ---- normalisation; `weight` and `bias` may be none ----
inline Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  return op<"layer_norm">({x, {x.size(-1)}, weight, bias, eps});
}
inline Tensor group_norm(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, double eps) {
  return op<"group_norm">({x, groups, weight, bias, eps});
}
inline Tensor group_norm_silu(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias, double eps) {
  return op<"t2i::group_norm_silu">({x, groups, weight, bias, eps});
}

// ---- attention ----
// q [B,L,heads*d], k and v [B,S,heads*d] -> [B,L,heads*d].
inline Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads) {
  return op<"t2i::attention">({q, k, v, heads});
}
// The same where no position sees a later one. L = S.
inline Tensor causal_attention(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads) {
  auto split = [&](const Tensor& x) {  // [B,L,heads*d] -> [B,heads,L,d]
    return transpose(reshape(x, {x.size(0), x.size(1), heads, x.size(2) / heads}), 1, 2);
  };
  Tensor none;
  Tensor y = op<"scaled_dot_product_attention">({split(q), split(k), split(v), none, 0.0, true});
  return flatten(transpose(y, 1, 2), 2);
}

// ---- images ----
// [B,C,H,W] -> [B,C,height,width], each pixel the nearest one's.
inline Tensor resize_nearest(const Tensor& x, int64_t height, int64_t width) {
  return op<"upsample_nearest2d">({x, {height, width}});
}
// Zeros around the last two dimensions.
inline Tensor pad(const Tensor& x, int64_t left, int64_t right, int64_t top, int64_t bottom) {
  return op<"constant_pad_nd">({x, {left, right, top, bottom}});
}

// ---- the rest ----
inline Tensor embedding(const Tensor& table, const Tensor& indices) { return op<"embedding">({table, indices}); }
inline Tensor clamp(const Tensor& x, double low, double high) { return op<"clamp">({x, low, high}); }
inline Tensor exp(const Tensor& x) { return op<"exp">({x}); }
inline Tensor sin(const Tensor& x) { return op<"sin">({x}); }
inline Tensor cos(const Tensor& x) { return op<"cos">({x}); }
// 0, 1, ... count-1 as float32 on the device of `like`; made on the device, so that a step with it can be captured.
inline Tensor range(int64_t count, const Tensor& like) {
  return op<"cumsum">({op<"new_ones">({like, {count}, Dtype{T2I_F32}}), 0}) - 1.0;
}

// An activation by the name that configurations use.
enum class Activation { silu, gelu, gelu_tanh, relu, mish, quick_gelu };
inline Tensor activate(Activation a, const Tensor& x) {
  switch (a) {
    case Activation::silu: return silu(x);
    case Activation::gelu: return gelu(x);
    case Activation::gelu_tanh: return gelu_tanh(x);
    case Activation::relu: return relu(x);
    case Activation::mish: return mish(x);
    case Activation::quick_gelu: return quick_gelu(x);
  }
  fail("no such activation", T2I_E_INTERNAL);
}

}  // namespace t2i
