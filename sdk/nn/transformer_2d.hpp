// Attention of an image over itself and over a text: diffusers' Transformer2DModel with its BasicTransformerBlocks.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "norm.hpp"

namespace t2i {

// Queries from x, keys and values from `context` (x itself where that is none).
struct CrossAttention {
  Linear to_q, to_k, to_v, to_out;
  int64_t heads = 1;
  CrossAttention() = default;
  CrossAttention(const Scope& s, int64_t width, int64_t context_width, int64_t heads_)
      : to_q(s.at("to_q"), width, width, false), to_k(s.at("to_k"), context_width, width, false),
        to_v(s.at("to_v"), context_width, width, false), to_out(s.at("to_out.0"), width, width), heads(heads_) {}
  Tensor operator()(const Tensor& x, const Tensor& context = {}) const {  // [B,L,width], [B,S,context_width]
    const Tensor& source = context ? context : x;
    return to_out(attention(to_q(x), to_k(source), to_v(source), heads));
  }
};

// Width times four, gated by GELU, and back.
struct GegluFeedForward {
  Linear in, out;
  GegluFeedForward() = default;
  GegluFeedForward(const Scope& s, int64_t width)
      : in(s.at("net.0.proj"), width, 8 * width), out(s.at("net.2"), 4 * width, width) {}
  Tensor operator()(const Tensor& x) const { return out(geglu(in(x))); }
};

struct TransformerOptions {
  int64_t heads = 8;
  int64_t layers = 1;
  int64_t context_width = 768;
  int64_t groups = 32;
  bool linear_projection = false;  // proj_in and proj_out are linear layers, not 1x1 convolutions
  bool only_cross_attention = false;  // the first attention, too, looks at the text
};

struct BasicTransformerBlock {
  Scope scope;
  std::string name;
  LayerNorm norm1, norm2, norm3;
  CrossAttention attn1, attn2;
  GegluFeedForward ff;
  bool only_cross_attention;
  BasicTransformerBlock(const Scope& s, int64_t width, const TransformerOptions& o);
  Tensor operator()(const Tensor& x, const Tensor& context) const;  // [B,L,width]; one block of the core
};

struct Transformer2D {
  GroupNorm norm;
  std::optional<Linear> linear_in, linear_out;
  std::optional<Conv2d> conv_in, conv_out;
  std::vector<BasicTransformerBlock> blocks;
  Transformer2D(const Scope& s, int64_t channels, const TransformerOptions& o);
  Tensor operator()(const Tensor& x, const Tensor& context) const;  // [B,C,H,W], [B,S,context_width] -> [B,C,H,W]
};

}  // namespace t2i
