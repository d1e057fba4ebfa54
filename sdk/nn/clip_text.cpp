#include "clip_text.hpp"

#include "config_reader.hpp"

namespace t2i {

ClipTextConfig read_clip_text_config(const Json& json, const std::string& file) {
  ConfigReader r(json, file);
  ClipTextConfig c;
  c.vocabulary = r.integer("vocab_size", 49408);
  c.width = r.integer("hidden_size", 512);
  c.inner_width = r.integer("intermediate_size", 2048);
  c.layers = r.integer("num_hidden_layers", 12);
  c.heads = r.integer("num_attention_heads", 8);
  c.positions = r.integer("max_position_embeddings", 77, 2);
  c.projection_width = r.optional_integer("projection_dim").value_or(512);
  std::string act = r.choice("hidden_act", "quick_gelu", {"quick_gelu", "gelu"});
  c.activation = act == "gelu" ? Activation::gelu : Activation::quick_gelu;
  c.eps = r.number("layer_norm_eps", 1e-5);
  if (const Json* end = r.raw("eos_token_id"); end && !end->is_null()) c.end_token = r.integer("eos_token_id", 2, 0);
  if (c.width % c.heads) r.problem("num_attention_heads", "it does not divide hidden_size " + std::to_string(c.width));
  // The pipelines hand a mask of the padding to the encoder where this is set.
  r.only("use_attention_mask", false, {false, nullptr});
  r.only("model_type", "clip_text_model", {"clip_text_model"});
  r.harmless({"architectures", "attention_dropout", "dropout", "bos_token_id", "pad_token_id", "initializer_factor",
              "initializer_range", "torch_dtype", "dtype", "transformers_version", "return_dict", "use_return_dict",
              "output_hidden_states", "output_attentions", "torchscript", "use_bfloat16", "tie_word_embeddings",
              "is_encoder_decoder", "is_decoder", "add_cross_attention", "chunk_size_feed_forward", "gradient_checkpointing",
              "id2label", "label2id", "use_cache", "attn_implementation"});
  r.done();
  return c;
}

ClipTextLayer::ClipTextLayer(const Scope& s, const ClipTextConfig& c)
    : scope(s), name(path_of(s)), layer_norm1(s.at("layer_norm1"), c.width, c.eps),
      layer_norm2(s.at("layer_norm2"), c.width, c.eps), q_proj(s.at("self_attn.q_proj"), c.width, c.width),
      k_proj(s.at("self_attn.k_proj"), c.width, c.width), v_proj(s.at("self_attn.v_proj"), c.width, c.width),
      out_proj(s.at("self_attn.out_proj"), c.width, c.width), fc1(s.at("mlp.fc1"), c.width, c.inner_width),
      fc2(s.at("mlp.fc2"), c.inner_width, c.width), heads(c.heads), activation(c.activation) {}

Tensor ClipTextLayer::operator()(const Tensor& x) const {
  return run_block(scope, name.c_str(), {x}, [this](std::span<const Tensor> in) {
    Tensor h = in[0], y = layer_norm1(h);
    h = h + out_proj(causal_attention(q_proj(y), k_proj(y), v_proj(y), heads));
    return h + fc2(activate(activation, fc1(layer_norm2(h))));
  });
}

ClipText::ClipText(const Scope& s, const ClipTextConfig& config, bool with_projection) : scope_(s), config_(config) {
  const ClipTextConfig& c = config_;
  Scope m = s.at("text_model");
  token_embedding_ = m.declare("embeddings.token_embedding.weight", {c.vocabulary, c.width}, "normal:0.02");
  position_embedding_ = m.declare("embeddings.position_embedding.weight", {c.positions, c.width}, "normal:0.02");
  layers_.reserve(static_cast<size_t>(c.layers));
  for (int64_t i = 0; i < c.layers; ++i) layers_.emplace_back(m.at("encoder.layers." + std::to_string(i)), c);
  final_layer_norm_ = LayerNorm(m.at("final_layer_norm"), c.width, c.eps);
  if (with_projection) text_projection_.emplace(s.at("text_projection"), c.width, c.projection_width, false);
}

Tensor ClipText::pooled_of(const Tensor& last, const Tensor& tokens) const {
  Tensor marked = config_.end_token == 2 ? tokens : to(op<"eq.Scalar">({tokens, config_.end_token}), T2I_I64);
  Tensor at = op<"argmax">({marked, -1});  // [B]: the first of the highest
  at = expand(unsqueeze(unsqueeze(at, -1), -1), {last.size(0), 1, last.size(2)});
  Tensor pooled = squeeze(op<"gather">({last, 1, at}), 1);
  return text_projection_ ? (*text_projection_)(pooled) : pooled;
}

ClipText::Output ClipText::operator()(const Tensor& tokens, const Wanted& wanted) const {
  int64_t length = tokens.size(1);
  if (length > config_.positions)
    fail("texts of " + std::to_string(length) + " tokens, but the text encoder has " + std::to_string(config_.positions) +
         " places (max_position_embeddings)");
  if (wanted.skip < 0 || wanted.skip > config_.layers)
    fail("clip_skip " + std::to_string(wanted.skip) + ": the text encoder has " + std::to_string(config_.layers) + " layers");
  Tensor x = embedding(scope_.get(token_embedding_), tokens) + slice(scope_.get(position_embedding_), 0, 0, length);
  int64_t used = config_.layers - wanted.skip;
  Output out;
  for (int64_t i = 0; i < (wanted.pooled ? config_.layers : used); ++i) {
    if (i == used) out.hidden = x;
    x = layers_[static_cast<size_t>(i)](x);
  }
  if (!out.hidden) out.hidden = x;
  if (wanted.pooled) out.pooled = pooled_of(final_layer_norm_(x), tokens);
  if (wanted.final_norm) out.hidden = final_layer_norm_(out.hidden);
  return out;
}

}  // namespace t2i
