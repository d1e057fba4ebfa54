// The convolutional pieces that UNet and VAE share, named as in diffusers' state dicts.
#pragma once
#include <optional>
#include <string>

#include "norm.hpp"

namespace t2i {

struct ResnetOptions {
  int64_t groups = 32;
  double eps = 1e-5;
  Activation activation = Activation::silu;
  int64_t time_width = 0;      // 0: not told the time
  bool scale_and_shift = false;  // the time scales and shifts the second norm instead of being added before it
  double output_scale = 1;     // the sum is divided by it
};

struct ResnetBlock2D {
  Scope scope;
  std::string name;
  ResnetOptions options;
  GroupNorm norm1, norm2;
  Conv2d conv1, conv2;
  std::optional<Linear> time_emb_proj;
  std::optional<Conv2d> conv_shortcut;
  ResnetBlock2D(const Scope& s, int64_t in, int64_t out, const ResnetOptions& o);
  // x [B,in,H,W] (where `skip` is given the two together make up `in`), time [B,time_width] already activated, or none
  // -> [B,out,H,W]. One block of the core.
  Tensor operator()(const Tensor& x, const Tensor& time, const Tensor& skip = {}) const;

 private:
  Tensor body(const Tensor& x, const Tensor& time) const;
};

// Halves height and width by a convolution. padding 0: one row and column of zeros at the far sides instead.
struct Downsample2D {
  Conv2d conv;
  Downsample2D(const Scope& s, int64_t channels, int64_t padding)
      : conv(s.at("conv"), channels, channels, 3, 2, padding) {}
  Tensor operator()(const Tensor& x) const { return conv(conv.padding == 0 ? pad(x, 0, 1, 0, 1) : x); }
};

// Enlarges to a given size, then a convolution.
struct Upsample2D {
  Conv2d conv;
  Upsample2D(const Scope& s, int64_t channels) : conv(s.at("conv"), channels, channels, 3, 1, 1) {}
  Tensor operator()(const Tensor& x, int64_t height, int64_t width) const {
    return conv(resize_nearest(x, height, width));
  }
};

// Self-attention over the pixels of an image, with its own norm and the input added. One block of the core.
struct SpatialAttention {
  Scope scope;
  std::string name;
  GroupNorm group_norm;
  Linear to_q, to_k, to_v, to_out;
  int64_t heads;
  double output_scale;
  SpatialAttention(const Scope& s, int64_t channels, int64_t head_width, int64_t groups, double eps,
                   double output_scale_ = 1);
  Tensor operator()(const Tensor& x) const;  // [B,C,H,W] -> [B,C,H,W]
};

// [B,C,H,W] -> [B,H*W,C] and back.
inline Tensor pixels_to_sequence(const Tensor& x) {
  return reshape(permute(x, {0, 2, 3, 1}), {x.size(0), x.size(2) * x.size(3), x.size(1)});
}
// Contiguous: a permuted view would run every later convolution in another memory layout, and rewrite its weight for it.
inline Tensor sequence_to_pixels(const Tensor& x, int64_t height, int64_t width) {
  return op<"contiguous">({permute(reshape(x, {x.size(0), height, width, x.size(2)}), {0, 3, 1, 2})});
}

}  // namespace t2i
