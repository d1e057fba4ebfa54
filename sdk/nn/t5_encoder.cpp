#include "t5_encoder.hpp"

#include "config_reader.hpp"

namespace t2i {

T5Config read_t5_config(const Json& json, const std::string& file) {
  ConfigReader r(json, file);
  T5Config c;
  c.vocabulary = r.integer("vocab_size", 32128);
  c.width = r.integer("d_model", 512);
  c.head_width = r.integer("d_kv", 64);
  c.inner_width = r.integer("d_ff", 2048);
  c.layers = r.integer("num_layers", 6);
  c.heads = r.integer("num_heads", 8);
  c.buckets = r.integer("relative_attention_num_buckets", 32, 4);
  c.max_distance = r.integer("relative_attention_max_distance", 128, 2);
  if (const int64_t exact = c.buckets / 4; c.max_distance <= exact)  // nothing would be left for the buckets that widen
    r.problem("relative_attention_max_distance", "wanted more than " + std::to_string(exact) + ", a quarter of relative_attention_num_buckets");
  c.eps = r.number("layer_norm_epsilon", 1e-6);
  const std::string feed = r.choice("feed_forward_proj", "relu", {"relu", "gelu", "silu", "gated-gelu", "gated-relu", "gated-silu"});
  c.gated = r.flag("is_gated_act", feed.starts_with("gated-"));
  // What is said apart counts; without it, a gate of "gelu" means its approximation by tanh.
  const std::string named = feed == "gated-gelu" ? "gelu_new" : feed.substr(feed.starts_with("gated-") ? 6 : 0);
  const std::string act = r.choice("dense_act_fn", named, {"relu", "gelu", "gelu_new", "silu"});
  c.activation = act == "gelu_new" ? Activation::gelu_tanh
                 : act == "gelu"   ? Activation::gelu
                 : act == "silu"   ? Activation::silu
                                   : Activation::relu;
  // The pipelines of the UNet's families hand a mask of the padding to the encoder where this is set.
  r.only("use_attention_mask", false, {false, nullptr});
  r.only("model_type", "t5", {"t5"});
  r.harmless({"architectures", "classifier_dropout", "decoder_start_token_id", "dropout_rate", "eos_token_id",
              "initializer_factor", "is_encoder_decoder", "num_decoder_layers", "output_past", "pad_token_id",
              "tie_word_embeddings", "torch_dtype", "dtype", "transformers_version", "use_cache", "n_positions", "task_specific_params",
              "is_decoder", "return_dict", "output_hidden_states", "output_attentions", "chunk_size_feed_forward", "id2label",
              "label2id", "bos_token_id", "problem_type", "scale_decoder_outputs", "add_cross_attention"});
  r.done();
  return c;
}

Tensor T5Norm::operator()(const Tensor& x) const { return rms_norm(x, scope.get(weight), eps); }

T5Layer::T5Layer(const Scope& s, const T5Config& c) : scope(s), name(path_of(s)), config(c) {
  const int64_t inner = c.heads * c.head_width;
  const Scope attention = s.at("layer.0.SelfAttention"), feed = s.at("layer.1.DenseReluDense");
  q = Linear(attention.at("q"), c.width, inner, false);
  k = Linear(attention.at("k"), c.width, inner, false);
  v = Linear(attention.at("v"), c.width, inner, false);
  o = Linear(attention.at("o"), inner, c.width, false);
  attention_norm = T5Norm(s.at("layer.0.layer_norm"), c.width, c.eps);
  wi_0 = Linear(feed.at(c.gated ? "wi_0" : "wi"), c.width, c.inner_width, false);
  if (c.gated) wi_1 = Linear(feed.at("wi_1"), c.width, c.inner_width, false);
  wo = Linear(feed.at("wo"), c.inner_width, c.width, false);
  feed_norm = T5Norm(s.at("layer.1.layer_norm"), c.width, c.eps);
}

Tensor T5Layer::operator()(const Tensor& x, const Tensor& bias) const {
  return run_block(scope, name.c_str(), {x, bias}, [this](std::span<const Tensor> in) {
    Tensor h = in[0], y = attention_norm(h);
    auto split = [&](const Tensor& t) {  // [B,L,heads*d] -> [B,heads,L,d]
      return transpose(reshape(t, {t.size(0), t.size(1), config.heads, config.head_width}), 1, 2);
    };
    Tensor seen = op<"scaled_dot_product_attention">({split(q(y)), split(k(y)), split(v(y)), in[1], 0.0, false, 1.0});
    h = h + o(flatten(transpose(seen, 1, 2), 2));
    y = feed_norm(h);
    Tensor inner = activate(config.activation, wi_0(y));
    return h + wo(config.gated ? inner * wi_1(y) : inner);
  });
}

T5Encoder::T5Encoder(const Scope& s, const T5Config& config) : scope_(s), config_(config) {
  const T5Config& c = config_;
  embedding_ = s.declare("shared.weight", {c.vocabulary, c.width}, "normal:1.0");
  layers_.reserve(static_cast<size_t>(c.layers));
  for (int64_t i = 0; i < c.layers; ++i) {
    Scope block = s.at("encoder.block." + std::to_string(i));
    layers_.emplace_back(block, c);
    if (i == 0)  // the first layer's, used by all
      relative_bias_ = block.declare("layer.0.SelfAttention.relative_attention_bias.weight", {c.buckets, c.heads}, "normal:0.02");
  }
  final_norm_ = T5Norm(s.at("encoder.final_layer_norm"), c.width, c.eps);
}

// Distances up to buckets/4 have a bucket each, further ones share buckets that widen as their logarithm does; a half of
// them for what comes before, a half for what comes after. In float32 by the same operations as the reference: at the
// borders of buckets one rounding decides.
Tensor T5Encoder::distance_bias(int64_t length, const Tensor& like) const {
  const int64_t side = config_.buckets / 2, exact = side / 2;
  Tensor place = range(length, like);
  Tensor distance = unsqueeze(place, 0) - unsqueeze(place, 1);  // [L,L]: where it is seen from that row
  Tensor after = to(op<"gt.Scalar">({distance, 0}), T2I_F32) * static_cast<double>(side);
  Tensor far = op<"abs">({distance});
  Tensor log = op<"log">({far / static_cast<double>(exact)}) /
               std::log(static_cast<double>(config_.max_distance) / static_cast<double>(exact)) * static_cast<double>(side - exact);
  Tensor shared = op<"clamp_max">({op<"floor">({log}) + static_cast<double>(exact), static_cast<double>(side - 1)});
  Tensor bucket = op<"where.self">({op<"lt.Scalar">({far, static_cast<double>(exact)}), far, shared}) + after;
  Tensor bias = embedding(scope_.get(relative_bias_), to(bucket, T2I_I64));  // [L,L,heads]
  return unsqueeze(permute(bias, {2, 0, 1}), 0);
}

Tensor T5Encoder::operator()(const Tensor& tokens) const {
  Tensor x = embedding(scope_.get(embedding_), tokens);
  Tensor bias = distance_bias(tokens.size(1), x);
  for (const T5Layer& layer : layers_) x = layer(x, bias);
  return final_norm_(x);
}

}  // namespace t2i
