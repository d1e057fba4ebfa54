#include "transformer.hpp"

#include <numeric>
#include <optional>

#include "nn/config_reader.hpp"
#include "nn/modulation.hpp"

namespace flux {

using t2i::Json;
using t2i::Linear;
using t2i::Scope;
using t2i::Tensor;

namespace {

constexpr int64_t time_features = 256;
constexpr double theta = 10000;  // of the angles

// [B,C,h,w] -> [B,(h/2)(w/2),4C]: a place has its four latents of the first channel, then of the second ...
Tensor pack(const Tensor& x) {
  constexpr int64_t p = TransformerConfig::patch;
  const int64_t b = x.size(0), c = x.size(1), rows = x.size(2) / p, columns = x.size(3) / p;
  return t2i::reshape(t2i::permute(t2i::reshape(x, {b, c, rows, p, columns, p}), {0, 2, 4, 1, 3, 5}),
                      {b, rows * columns, c * p * p});
}

Tensor unpack(const Tensor& x, int64_t rows, int64_t columns) {
  constexpr int64_t p = TransformerConfig::patch;
  const int64_t b = x.size(0), c = x.size(2) / (p * p);
  return t2i::reshape(t2i::permute(t2i::reshape(x, {b, rows, columns, c, p, p}), {0, 3, 1, 4, 2, 5}),
                      {b, c, rows * p, columns * p});
}

// The angles of `count` places along an axis for `width` numbers of a head: [count,width/2] float64. In float32 those
// of the fastest pair would be off by 1e-5 at place 128.
Tensor angles(int64_t count, int64_t width, const Tensor& like) {
  Tensor exponents = t2i::to(t2i::range(width / 2, like), T2I_F64) * 2.0 / static_cast<double>(width);
  Tensor frequencies = t2i::op<"reciprocal">({t2i::op<"pow.Scalar">({theta, exponents})});
  return t2i::unsqueeze(t2i::to(t2i::range(count, like), T2I_F64), 1) * t2i::unsqueeze(frequencies, 0);
}

}  // namespace

TransformerConfig read_transformer_config(const Json& json, const std::string& file) {
  t2i::ConfigReader r(json, file);
  TransformerConfig c;
  constexpr int64_t packed = TransformerConfig::packed;
  r.only("patch_size", 1, {1});  // the pipelines pack before the transformer: a patch of it would be a second one
  const int64_t in = r.integer("in_channels", 64);
  const std::optional<int64_t> own_out = r.optional_integer("out_channels");
  const int64_t out = own_out.value_or(in);
  const std::string multiple = "wanted a multiple of " + std::to_string(packed) + ": latents are packed 2 x 2";
  if (in % packed) r.problem("in_channels", multiple);
  if (own_out && out % packed) r.problem("out_channels", multiple);
  if (out > in) r.problem("out_channels", "wanted at most 'in_channels', which is " + std::to_string(in));
  c.in_channels = in / packed, c.out_channels = out / packed;
  c.double_layers = r.integer("num_layers", 19);
  c.single_layers = r.integer("num_single_layers", 38);
  c.size.head_width = r.integer("attention_head_dim", 128);
  c.size.heads = r.integer("num_attention_heads", 24);
  c.context_width = r.integer("joint_attention_dim", 4096);
  c.pooled_width = r.integer("pooled_projection_dim", 768);
  c.guidance = r.flag("guidance_embeds", false);
  c.axes = r.integers("axes_dims_rope", Json{16, 56, 56}, 3, 2);
  if (std::accumulate(c.axes.begin(), c.axes.end(), int64_t{0}) != c.size.head_width)
    r.problem("axes_dims_rope", "their sum must be 'attention_head_dim', " + std::to_string(c.size.head_width));
  for (int64_t axis : c.axes)
    if (axis % 2) r.problem("axes_dims_rope", "wanted even numbers: a head turns in pairs");
  r.done();
  return c;
}

Transformer::Transformer(const Scope& s, const TransformerConfig& config) : config_(config) {
  const TransformerConfig& c = config_;
  const int64_t w = c.size.width();
  const Scope told = s.at("time_text_embed");
  auto embedding = [&](const char* name, int64_t in) {
    return t2i::TimestepEmbedding(told.at(name), in, w, t2i::Activation::silu);
  };
  time_ = embedding("timestep_embedder", time_features);
  if (c.guidance) guidance_ = embedding("guidance_embedder", time_features);
  pooled_ = embedding("text_embedder", c.pooled_width);
  context_ = Linear(s.at("context_embedder"), c.context_width, w);
  places_ = Linear(s.at("x_embedder"), c.in_channels * TransformerConfig::packed, w);
  double_blocks_.reserve(static_cast<size_t>(c.double_layers));
  for (int64_t i = 0; i < c.double_layers; ++i)
    double_blocks_.emplace_back(s.at("transformer_blocks." + std::to_string(i)), c.size);
  single_blocks_.reserve(static_cast<size_t>(c.single_layers));
  for (int64_t i = 0; i < c.single_layers; ++i)
    single_blocks_.emplace_back(s.at("single_transformer_blocks." + std::to_string(i)), c.size);
  norm_out_ = Linear(s.at("norm_out.linear"), w, 2 * w);
  out_ = Linear(s.at("proj_out"), w, c.out_channels * TransformerConfig::packed);
}

void Transformer::check(const Input& in) const {
  auto must = [](const char* what, int64_t got, int64_t wanted, const char* key) {
    if (got != wanted)
      t2i::fail(std::string(what) + " has width " + std::to_string(got) + ", by transformer/config.json: '" + key +
                "' it is " + std::to_string(wanted));
  };
  must("the packed input", in.latents.size(1) * TransformerConfig::packed,
       config_.in_channels * TransformerConfig::packed, "in_channels");
  must("prompt_embeds", in.context.size(-1), config_.context_width, "joint_attention_dim");
  must("pooled", in.pooled.size(-1), config_.pooled_width, "pooled_projection_dim");
  const int64_t h = in.latents.size(2), w = in.latents.size(3);
  if (h % TransformerConfig::patch || w % TransformerConfig::patch)
    t2i::fail("latents of " + std::to_string(w) + " x " + std::to_string(h) +
              " cannot be packed 2 x 2: both sides must be even");
}

// The pipelines hand on thousandths and the network takes them times 1000: in float32 that is not always the number
// again, and the fastest sinusoid would show it.
Tensor Transformer::told(const Input& in) const {
  const int32_t dtype = in.latents.dtype();
  auto features = [&](const Tensor& n) { return t2i::to(t2i::sinusoids(n, time_features, true, 0), dtype); };
  Tensor emb = time_(features(t2i::to(in.timesteps, T2I_F32) / 1000.0 * 1000.0));
  if (config_.guidance) emb = emb + guidance_(features(t2i::to(in.guidance, T2I_F32) * 1000.0));
  return emb + pooled_(in.pooled);
}

// A place of the picture is (0, row, column), a token of the text (0, 0, 0).
Turns Transformer::turns(int64_t tokens, int64_t rows, int64_t columns, const Tensor& like) const {
  const std::vector<int64_t>& axes = config_.axes;
  auto grid = [&](const Tensor& x) {
    return t2i::reshape(t2i::expand(x, {rows, columns, x.size(2)}), {rows * columns, x.size(2)});
  };
  Tensor moved = t2i::cat(
      {grid(t2i::unsqueeze(angles(rows, axes[1], like), 1)), grid(t2i::unsqueeze(angles(columns, axes[2], like), 0))},
      1);
  Tensor all = t2i::op<"constant_pad_nd">({moved, {axes[0] / 2, 0, tokens, 0}});  // [L+P,D/2]
  auto twice = [&](const Tensor& x) {
    Tensor pairs = t2i::expand(t2i::unsqueeze(x, 2), {x.size(0), x.size(1), 2});
    return t2i::unsqueeze(t2i::to(t2i::flatten(pairs, 1), like.dtype() == T2I_F64 ? T2I_F64 : T2I_F32), 1);
  };
  return {twice(t2i::cos(all)), twice(t2i::sin(all))};
}

Tensor Transformer::operator()(const Input& in) const {
  check(in);
  const int64_t rows = in.latents.size(2) / TransformerConfig::patch, w = config_.size.width();
  const int64_t columns = in.latents.size(3) / TransformerConfig::patch, tokens = in.context.size(1);
  Tensor x = places_(pack(in.latents)), emb = told(in), context = context_(in.context);
  const Turns places = turns(tokens, rows, columns, x);
  for (const DoubleBlock& block : double_blocks_) {
    auto [next_x, next_context] = block(x, context, emb, places);
    x = next_x, context = next_context;
  }
  x = t2i::cat({context, x}, 1);
  for (const SingleBlock& block : single_blocks_) x = block(x, emb, places);
  Tensor m = norm_out_(t2i::silu(emb));  // scale, shift
  x = out_(t2i::modulated(t2i::slice(x, 1, tokens, x.size(1)), t2i::part(m, 0, w), t2i::part(m, 1, w)));
  return unpack(x, rows, columns);
}

}  // namespace flux
