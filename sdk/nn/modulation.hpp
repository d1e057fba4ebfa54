// How a time and a pooled text steer the blocks of a diffusion transformer: a linear layer makes a shift, a scale and a gate
// of them for each branch (Peebles and Xie 2023, arXiv:2212.09748, §3.2).
#pragma once
#include <t2i/functions.hpp>

namespace t2i {

// Part `i` of a modulation [B, n*width], for every place: [B,1,width].
inline Tensor part(const Tensor& modulation, int64_t i, int64_t width) {
  return unsqueeze(slice(modulation, 1, i * width, (i + 1) * width), 1);
}
// A norm without weights, then scale and shift: x (1 + scale) + shift. x [B,L,W]; scale, shift [B,1,W].
inline Tensor modulated(const Tensor& x, const Tensor& scale, const Tensor& shift, double eps = 1e-6) {
  return op<"t2i::ada_layer_norm">({x, scale, shift, eps});
}
// x + gate z: x, z [B,L,W]; gate [B,1,W].
inline Tensor gated_add(const Tensor& x, const Tensor& gate, const Tensor& z) { return op<"t2i::gated_add">({x, gate, z}); }

}  // namespace t2i
