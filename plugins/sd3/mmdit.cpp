#include "mmdit.hpp"

#include "nn/config_reader.hpp"
#include "nn/modulation.hpp"
#include "nn/norm.hpp"

namespace sd3 {

using t2i::Json;
using t2i::gated_add;
using t2i::Linear;
using t2i::modulated;
using t2i::part;
using t2i::Scope;
using t2i::Tensor;

namespace {

constexpr double eps = 1e-6;  // of the norms over each head

}  // namespace

MmditConfig read_mmdit_config(const Json& json, const std::string& file) {
  t2i::ConfigReader r(json, file);
  MmditConfig c;
  c.sample_size = r.integer("sample_size", 128);
  c.patch = r.integer("patch_size", 2);
  c.in_channels = r.integer("in_channels", 16);
  c.out_channels = r.optional_integer("out_channels").value_or(c.in_channels);
  c.layers = r.integer("num_layers", 18);
  c.heads = r.integer("num_attention_heads", 18);
  c.head_width = r.integer("attention_head_dim", 64);
  c.context_width = r.integer("joint_attention_dim", 4096);
  c.pooled_width = r.integer("pooled_projection_dim", 2048);
  c.places = r.integer("pos_embed_max_size", 96);
  if (int64_t w = r.integer("caption_projection_dim", 1152); w != c.width())
    r.problem("caption_projection_dim", "num_attention_heads times attention_head_dim is " + std::to_string(c.width()));
  for (int64_t i : r.integers("dual_attention_layers", Json::array(), 0, 0)) {
    if (i >= c.layers) r.problem("dual_attention_layers", "there are " + std::to_string(c.layers) + " layers");
    c.dual_layers.insert(i);
  }
  c.qk_norm = r.optional_choice("qk_norm", {"rms_norm"}) == "rms_norm";
  r.done();
  return c;
}

static Projections projections(const Scope& s, const char* q, const char* k, const char* v, const char* norm_q, const char* norm_k,
                               const MmditConfig& c) {
  Projections p{s, Linear(s.at(q), c.width(), c.width()), Linear(s.at(k), c.width(), c.width()), Linear(s.at(v), c.width(), c.width())};
  if (!c.qk_norm) return p;
  p.norm_q = s.at(norm_q).declare("weight", {c.head_width}, "ones");
  p.norm_k = s.at(norm_k).declare("weight", {c.head_width}, "ones");
  return p;
}

MmditBlock::MmditBlock(const Scope& s, const MmditConfig& c, bool is_last, bool is_dual)
    : scope(s), name(t2i::path_of(s)), last(is_last), dual(is_dual), heads(c.heads), head_width(c.head_width) {
  const int64_t w = c.width(), inner = 4 * w;
  norm1 = Linear(s.at("norm1.linear"), w, (dual ? 9 : 6) * w);
  norm1_context = Linear(s.at("norm1_context.linear"), w, (last ? 2 : 6) * w);
  const Scope attention = s.at("attn");
  picture = projections(attention, "to_q", "to_k", "to_v", "norm_q", "norm_k", c);
  text = projections(attention, "add_q_proj", "add_k_proj", "add_v_proj", "norm_added_q", "norm_added_k", c);
  to_out = Linear(attention.at("to_out.0"), w, w);
  if (!last) to_add_out = Linear(attention.at("to_add_out"), w, w);
  if (dual) {
    alone = projections(s.at("attn2"), "to_q", "to_k", "to_v", "norm_q", "norm_k", c);
    to_out2 = Linear(s.at("attn2.to_out.0"), w, w);
  }
  ff_in = Linear(s.at("ff.net.0.proj"), w, inner);
  ff_out = Linear(s.at("ff.net.2"), inner, w);
  if (last) return;
  ff_context_in = Linear(s.at("ff_context.net.0.proj"), w, inner);
  ff_context_out = Linear(s.at("ff_context.net.2"), inner, w);
}

// Queries, keys and values [B,L,width], queries and keys with their norm over each head.
std::array<Tensor, 3> MmditBlock::project(const Projections& p, const Tensor& x) const {
  auto norm = [&](const Tensor& t, t2i_param weight) {
    if (weight == T2I_NO_PARAM) return t;
    Tensor by_head = t2i::reshape(t, {t.size(0), t.size(1), heads, head_width});
    return t2i::flatten(t2i::rms_norm(by_head, p.scope.get(weight), eps), 2);
  };
  return {norm(p.q(x), p.norm_q), norm(p.k(x), p.norm_k), p.v(x)};
}

std::array<Tensor, 2> MmditBlock::body(const Tensor& x_in, const Tensor& context_in, const Tensor& emb) const {
  const int64_t w = heads * head_width, places = x_in.size(1);
  Tensor x = x_in, context = context_in, active = t2i::silu(emb);
  // shift, scale, gate of attention; shift, scale, gate of what follows; shift, scale, gate of the second attention
  Tensor m = norm1(active), cm = norm1_context(active);
  Tensor for_x = modulated(x, part(m, 1, w), part(m, 0, w));
  Tensor for_context = last ? modulated(context, part(cm, 0, w), part(cm, 1, w))  // here scale comes first
                            : modulated(context, part(cm, 1, w), part(cm, 0, w));

  auto [xq, xk, xv] = project(picture, for_x);
  auto [cq, ck, cv] = project(text, for_context);
  Tensor seen = t2i::attention(t2i::cat({xq, cq}, 1), t2i::cat({xk, ck}, 1), t2i::cat({xv, cv}, 1), heads);
  // The picture's larger product last: a block that is run again in backward leaves its last product out.
  if (!last) {
    context = gated_add(context, part(cm, 2, w), to_add_out(t2i::slice(seen, 1, places, seen.size(1))));
    Tensor y = modulated(context, part(cm, 4, w), part(cm, 3, w));
    context = gated_add(context, part(cm, 5, w), ff_context_out(t2i::gelu_tanh(ff_context_in(y))));
  }
  x = gated_add(x, part(m, 2, w), to_out(t2i::slice(seen, 1, 0, places)));
  if (dual) {
    auto [q, k, v] = project(alone, modulated(x_in, part(m, 7, w), part(m, 6, w)));
    x = gated_add(x, part(m, 8, w), to_out2(t2i::attention(q, k, v, heads)));
  }
  Tensor y = modulated(x, part(m, 4, w), part(m, 3, w));
  return {gated_add(x, part(m, 5, w), ff_out(t2i::gelu_tanh(ff_in(y)))), context};
}

std::array<Tensor, 2> MmditBlock::operator()(const Tensor& x, const Tensor& context, const Tensor& emb) const {
  return t2i::run_block_many<2>(scope, name.c_str(), {x, context, emb},
                                [this](std::span<const Tensor> in) { return body(in[0], in[1], in[2]); });
}

Mmdit::Mmdit(const Scope& s, const MmditConfig& config) : scope_(s), config_(config) {
  const MmditConfig& c = config_;
  const int64_t w = c.width();
  patches_ = t2i::Conv2d(s.at("pos_embed.proj"), c.in_channels, w, c.patch, c.patch);
  positions_ = s.declare("pos_embed.pos_embed", {1, c.places * c.places, w}, "buffer");
  time_ = t2i::TimestepEmbedding(s.at("time_text_embed.timestep_embedder"), 256, w, t2i::Activation::silu);
  pooled_ = t2i::TimestepEmbedding(s.at("time_text_embed.text_embedder"), c.pooled_width, w, t2i::Activation::silu);
  context_ = Linear(s.at("context_embedder"), c.context_width, w);
  blocks_.reserve(static_cast<size_t>(c.layers));
  for (int64_t i = 0; i < c.layers; ++i)
    blocks_.emplace_back(s.at("transformer_blocks." + std::to_string(i)), c, i + 1 == c.layers, c.dual_layers.contains(i));
  norm_out_ = Linear(s.at("norm_out.linear"), w, 2 * w);
  out_ = Linear(s.at("proj_out"), w, c.patch * c.patch * c.out_channels);
}

// The middle of the table: what a model of this size and one of another see at a picture's centre is the same.
Tensor Mmdit::positions(int64_t rows, int64_t columns) const {
  const int64_t n = config_.places, w = config_.width();
  if (rows > n || columns > n)
    t2i::fail("a picture of " + std::to_string(rows) + " x " + std::to_string(columns) + " patches, but the model has " +
              std::to_string(n) + " places a side (pos_embed_max_size)");
  Tensor table = t2i::reshape(scope_.get(positions_), {n, n, w});
  const int64_t top = (n - rows) / 2, left = (n - columns) / 2;
  table = t2i::slice(t2i::slice(table, 0, top, top + rows), 1, left, left + columns);
  return t2i::reshape(table, {1, rows * columns, w});
}

Tensor Mmdit::operator()(const Tensor& latents, const Tensor& timesteps, const Tensor& context_in, const Tensor& pooled) const {
  const MmditConfig& c = config_;
  auto must = [](const char* what, int64_t got, int64_t wanted, const char* key) {
    if (got != wanted)
      t2i::fail(std::string(what) + " has width " + std::to_string(got) + ", the transformer's " + key + " is " + std::to_string(wanted));
  };
  must("its input", latents.size(1), c.in_channels, "in_channels");
  must("prompt_embeds", context_in.size(-1), c.context_width, "joint_attention_dim");
  must("pooled", pooled.size(-1), c.pooled_width, "pooled_projection_dim");
  if (latents.size(2) % c.patch || latents.size(3) % c.patch)
    t2i::fail("latents of " + std::to_string(latents.size(3)) + " x " + std::to_string(latents.size(2)) + " cannot be cut into patches of " +
              std::to_string(c.patch) + " x " + std::to_string(c.patch) + ": both sides must be multiples");
  const int64_t rows = latents.size(2) / c.patch, columns = latents.size(3) / c.patch, batch = latents.size(0);
  const int32_t dtype = latents.dtype();
  Tensor x = t2i::transpose(t2i::flatten(patches_(latents), 2), 1, 2) + t2i::to(positions(rows, columns), dtype);
  Tensor emb = time_(t2i::to(t2i::sinusoids(timesteps, 256, true, 0), dtype)) + pooled_(pooled);
  Tensor context = context_(context_in);
  for (const MmditBlock& block : blocks_) {
    auto [next_x, next_context] = block(x, context, emb);
    x = next_x, context = next_context;
  }
  Tensor m = norm_out_(t2i::silu(emb));
  x = out_(modulated(x, part(m, 0, c.width()), part(m, 1, c.width())));
  x = t2i::permute(t2i::reshape(x, {batch, rows, columns, c.patch, c.patch, c.out_channels}), {0, 5, 1, 3, 2, 4});
  return t2i::reshape(x, {batch, c.out_channels, rows * c.patch, columns * c.patch});
}

}  // namespace sd3
