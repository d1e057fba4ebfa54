#include "blocks.hpp"

#include "nn/modulation.hpp"
#include "nn/norm.hpp"

namespace flux {

using t2i::gated_add;
using t2i::Linear;
using t2i::modulated;
using t2i::part;
using t2i::Scope;
using t2i::Tensor;

namespace {

constexpr double eps = 1e-6;            // of the norms over each head
constexpr double largest_half = 65504;  // what float16 can hold

// The pairs of x [B,N,H,D] turned by their place's angles (eq. 34 of arXiv:2104.09864). In float32 at least: at place
// 100 bfloat16 could not tell an angle from its neighbour's.
Tensor turned(const Tensor& x, const Turns& turns) {
  Tensor y = t2i::to(x, turns.cosines.dtype());
  Tensor pairs = t2i::reshape(y, {y.size(0), y.size(1), y.size(2), y.size(3) / 2, 2});
  Tensor quarter = t2i::flatten(t2i::cat({-t2i::slice(pairs, 4, 1, 2), t2i::slice(pairs, 4, 0, 1)}, 4), 3);
  return t2i::to(t2i::op<"addcmul">({y * turns.cosines, quarter, turns.sines}), x.dtype());
}

// q, k, v [B,N,H,D] -> [B,N,W].
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Turns& turns, int64_t heads) {
  return t2i::attention(t2i::flatten(turned(q, turns), 2), t2i::flatten(turned(k, turns), 2), t2i::flatten(v, 2),
                        heads);
}

// Activations of the later blocks grow past what float16 holds; the published code cuts them there.
Tensor held(const Tensor& x) { return x.dtype() == T2I_F16 ? t2i::clamp(x, -largest_half, largest_half) : x; }

}  // namespace

Projections::Projections(const Scope& s, const BlockSize& size, const Names& names)
    : scope(s), heads(size.heads), head_width(size.head_width) {
  const int64_t w = size.width();
  q = Linear(s.at(names.q), w, w);
  k = Linear(s.at(names.k), w, w);
  v = Linear(s.at(names.v), w, w);
  norm_q = s.at(names.norm_q).declare("weight", {head_width}, "ones");
  norm_k = s.at(names.norm_k).declare("weight", {head_width}, "ones");
}

std::array<Tensor, 3> Projections::operator()(const Tensor& x) const {
  auto by_head = [&](const Tensor& y) { return t2i::reshape(y, {y.size(0), y.size(1), heads, head_width}); };
  auto normed = [&](const Tensor& y, t2i_param weight) {
    return t2i::rms_norm(by_head(y), scope.get(weight), eps);
  };
  return {normed(q(x), norm_q), normed(k(x), norm_k), by_head(v(x))};
}

DoubleBlock::DoubleBlock(const Scope& s, const BlockSize& size) : scope_(s), name_(t2i::path_of(s)), size_(size) {
  const int64_t w = size.width();
  const Scope attn = s.at("attn");
  auto stream = [&](const Projections::Names& names, const char* norm, const char* out, const char* feed) {
    return Stream{Projections(attn, size, names), Linear(s.at(norm).at("linear"), w, 6 * w), Linear(attn.at(out), w, w),
                  Linear(s.at(feed).at("net.0.proj"), w, 4 * w), Linear(s.at(feed).at("net.2"), 4 * w, w)};
  };
  picture_ = stream({"to_q", "to_k", "to_v", "norm_q", "norm_k"}, "norm1", "to_out.0", "ff");
  text_ = stream({"add_q_proj", "add_k_proj", "add_v_proj", "norm_added_q", "norm_added_k"}, "norm1_context",
                 "to_add_out", "ff_context");
}

// A modulation holds shift, scale and gate of the attention, then of what follows it.
Tensor DoubleBlock::after_attention(const Stream& s, const Tensor& x_in, const Tensor& seen, const Tensor& m) const {
  const int64_t w = size_.width();
  Tensor x = gated_add(x_in, part(m, 2, w), s.to_out(seen));
  Tensor y = modulated(x, part(m, 4, w), part(m, 3, w));
  return gated_add(x, part(m, 5, w), s.ff_out(t2i::gelu_tanh(s.ff_in(y))));
}

std::array<Tensor, 2> DoubleBlock::body(const Tensor& x, const Tensor& context, const Tensor& emb,
                                        const Turns& turns) const {
  const int64_t w = size_.width(), tokens = context.size(1);
  Tensor active = t2i::silu(emb), m = picture_.norm1(active), cm = text_.norm1(active);
  auto [xq, xk, xv] = picture_.project(modulated(x, part(m, 1, w), part(m, 0, w)));
  auto [cq, ck, cv] = text_.project(modulated(context, part(cm, 1, w), part(cm, 0, w)));
  Tensor seen = attention(t2i::cat({cq, xq}, 1), t2i::cat({ck, xk}, 1), t2i::cat({cv, xv}, 1), turns, size_.heads);
  // The picture's larger products last: a block that is run again in backward leaves its last product out.
  Tensor words = held(after_attention(text_, context, t2i::slice(seen, 1, 0, tokens), cm));
  return {after_attention(picture_, x, t2i::slice(seen, 1, tokens, seen.size(1)), m), words};
}

std::array<Tensor, 2> DoubleBlock::operator()(const Tensor& x, const Tensor& context, const Tensor& emb,
                                              const Turns& turns) const {
  return t2i::run_block_many<2>(scope_, name_.c_str(), {x, context, emb, turns.cosines, turns.sines},
                                [this](std::span<const Tensor> in) {
                                  return body(in[0], in[1], in[2], {in[3], in[4]});
                                });
}

SingleBlock::SingleBlock(const Scope& s, const BlockSize& size) : scope_(s), name_(t2i::path_of(s)), size_(size) {
  const int64_t w = size.width();
  norm_ = Linear(s.at("norm.linear"), w, 3 * w);
  proj_mlp_ = Linear(s.at("proj_mlp"), w, 4 * w);
  proj_out_ = Linear(s.at("proj_out"), 5 * w, w);
  project_ = Projections(s.at("attn"), size, {"to_q", "to_k", "to_v", "norm_q", "norm_k"});
}

Tensor SingleBlock::body(const Tensor& x, const Tensor& emb, const Turns& turns) const {
  const int64_t w = size_.width();
  Tensor m = norm_(t2i::silu(emb));  // shift, scale, gate
  Tensor y = modulated(x, part(m, 1, w), part(m, 0, w));
  auto [q, k, v] = project_(y);
  Tensor seen = attention(q, k, v, turns, size_.heads);
  return held(gated_add(x, part(m, 2, w), proj_out_(t2i::cat({seen, t2i::gelu_tanh(proj_mlp_(y))}, 2))));
}

Tensor SingleBlock::operator()(const Tensor& x, const Tensor& emb, const Turns& turns) const {
  return t2i::run_block(scope_, name_.c_str(), {x, emb, turns.cosines, turns.sines},
                        [this](std::span<const Tensor> in) {
                          return body(in[0], in[1], {in[2], in[3]});
                        });
}

}  // namespace flux
