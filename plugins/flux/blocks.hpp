// The blocks of FLUX.1's transformer. The first ones are those of Esser et al. 2024 (arXiv:2403.03206, fig. 2): text
// and picture have weights of their own and attend to each other. Those that follow are of one stream, with attention
// and feed-forward side by side (Dehghani et al. 2023, arXiv:2302.05442, §2). Places are told by turning queries and
// keys (Su et al. 2021, arXiv:2104.09864).
//
// Shapes: B batch, P places of the picture, L tokens of the text, N either or both, W width, H heads, D width of a
// head.
#pragma once
#include <t2i/functions.hpp>

#include <array>
#include <string>

namespace flux {

struct BlockSize {
  int64_t heads = 24, head_width = 128;
  int64_t width() const { return heads * head_width; }
};

// How far each place turns: cosines and sines, [N,1,D]. Each number stands twice, for both members of a pair.
struct Turns {
  t2i::Tensor cosines, sines;
};

// Queries, keys and values of one stream, queries and keys with a norm over each head.
struct Projections {
  struct Names {
    const char *q, *k, *v, *norm_q, *norm_k;
  };
  t2i::Scope scope;
  int64_t heads = 0, head_width = 0;
  t2i::Linear q, k, v;
  t2i_param norm_q = T2I_NO_PARAM, norm_k = T2I_NO_PARAM;

  Projections() = default;
  Projections(const t2i::Scope& s, const BlockSize& size, const Names& names);
  std::array<t2i::Tensor, 3> operator()(const t2i::Tensor& x) const;  // [B,N,W] -> three [B,N,H,D]
};

class DoubleBlock {
 public:
  DoubleBlock(const t2i::Scope& s, const BlockSize& size);
  // x [B,P,W], context [B,L,W], emb [B,W] (before its activation) -> {x, context}; one block of the core.
  std::array<t2i::Tensor, 2> operator()(const t2i::Tensor& x, const t2i::Tensor& context, const t2i::Tensor& emb,
                                        const Turns& turns) const;

 private:
  struct Stream {
    Projections project;
    t2i::Linear norm1, to_out, ff_in, ff_out;
  };
  std::array<t2i::Tensor, 2> body(const t2i::Tensor& x, const t2i::Tensor& context, const t2i::Tensor& emb,
                                  const Turns& turns) const;
  t2i::Tensor after_attention(const Stream& s, const t2i::Tensor& x, const t2i::Tensor& seen,
                              const t2i::Tensor& modulation) const;

  t2i::Scope scope_;
  std::string name_;
  BlockSize size_;
  Stream picture_, text_;
};

class SingleBlock {
 public:
  SingleBlock(const t2i::Scope& s, const BlockSize& size);
  // x [B,L+P,W], emb [B,W] (before its activation) -> x; one block of the core.
  t2i::Tensor operator()(const t2i::Tensor& x, const t2i::Tensor& emb, const Turns& turns) const;

 private:
  t2i::Tensor body(const t2i::Tensor& x, const t2i::Tensor& emb, const Turns& turns) const;

  t2i::Scope scope_;
  std::string name_;
  BlockSize size_;
  t2i::Linear norm_, proj_mlp_, proj_out_;
  Projections project_;
};

}  // namespace flux
