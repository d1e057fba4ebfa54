#include "sd3.hpp"

#include "nn/latent_family.hpp"

namespace sd3 {

using t2i::Json;
using t2i::Tensor;

constexpr int64_t always_skipped = 1;  // of each CLIP model's layers

Sd3::Sd3(const Json& config, t2i::Assets assets) : assets_(assets) {
  t2i::PartConfigs parts(config);
  bool has_transformer = parts.read("transformer", "SD3Transformer2DModel", [&](const Json& c, const std::string& file) {
    transformer_config_ = read_mmdit_config(c, file);
  });
  parts.read("vae", "AutoencoderKL", [&](const Json& c, const std::string& file) {
    vae_config_ = t2i::read_autoencoder_config(c, file);
  });
  for (Text* text : {&text_1_, &text_2_})
    parts.read(text->part, "CLIPTextModelWithProjection", [&](const Json& c, const std::string& file) {
      text->config = t2i::read_clip_text_config(c, file);
    });
  parts.read("text_encoder_3", "T5EncoderModel", [&](const Json&, const std::string& file) {
    t2i::fail(file + ": the T5 text encoder is not supported yet. → Leave it out: give a copy of the folder without "
                     "text_encoder_3 and tokenizer_3, and null for both in model_index.json.");
  });
  parts.done();
  if (!has_transformer)
    t2i::fail("model_index.json: the model has no 'transformer'. → Give a folder of Stable Diffusion 3's form.", T2I_E_MISSING);
  const Json& options = config.at("options");
  if (options.contains("clip_skip") && !options["clip_skip"].is_null()) clip_skip_ = options["clip_skip"];
  t5_length_ = options.value("t5_length", int64_t{256});
  check_fit();
  description_ = description(config);
}

void Sd3::check_fit() const {
  const MmditConfig& c = transformer_config_;
  if (vae_config_)
    t2i::must_fit(vae_config_->latent_channels, "vae/config.json: 'latent_channels'", c.out_channels,
                  "transformer/config.json: 'out_channels'");
  for (const Text* text : {&text_1_, &text_2_})
    if (text->config && always_skipped + clip_skip_ > text->config->layers)
      t2i::fail("clip_skip is " + std::to_string(clip_skip_) + ", but " + text->part + " has " +
                std::to_string(text->config->layers) + " layers, of which the last is always left out");
  if (!text_1_.config || !text_2_.config) return;
  t2i::must_fit(text_1_.config->projection_width + text_2_.config->projection_width,
                "'projection_dim' of text_encoder/config.json and text_encoder_2/config.json together", c.pooled_width,
                "transformer/config.json: 'pooled_projection_dim'");
  if (int64_t both = text_1_.config->width + text_2_.config->width; both > c.context_width)
    t2i::fail("'hidden_size' of text_encoder/config.json and text_encoder_2/config.json together is " + std::to_string(both) +
              ", but transformer/config.json: 'joint_attention_dim' is " + std::to_string(c.context_width) +
              ". → Take all three from the same model, or from models that fit.");
}

std::string Sd3::description(const Json& config) const {
  Json about;
  about["parts"]["transformer"] = {{"role", "denoiser"}};
  about["parts"]["vae"] = t2i::autoencoder_part(vae_config_ && vae_config_->needs_range);
  about["parts"][text_1_.part] = t2i::clip_text_part();
  about["parts"][text_2_.part] = t2i::clip_text_part();
  const int64_t downscale = vae_config_ ? vae_config_->downscale() : 8;
  about["latent"] = {{"channels", transformer_config_.out_channels}, {"downscale", downscale}, {"patch", transformer_config_.patch}};
  about["resolution"] = transformer_config_.sample_size * downscale;
  about["first_layer"] = {{"part", "transformer"}, {"weight", "pos_embed.proj.weight"}, {"config_key", "in_channels"},
                          {"channels", transformer_config_.in_channels}};
  about["source_latents"] = "scaled";
  about["watched_gradients"] = {"*.to_q.weight", "*.to_k.weight"};
  if (text_1_.config) about["token_limit"] = text_1_.config->positions;
  about["default_loss"] = t2i::objective_of(config.value("scheduler", Json::object()));
  about["default_sampler"] = "flow_euler";
  about["pipelines"] = {{"text", "StableDiffusion3Pipeline"}};
  return about.dump();
}

void Sd3::build(std::string_view part, t2i::Scope scope) {
  if (part == "transformer")
    transformer_ = std::make_unique<Mmdit>(scope, transformer_config_);
  else if (part == "vae" && vae_config_)
    vae_ = std::make_unique<t2i::AutoencoderKL>(scope, *vae_config_);
  else if (part == text_1_.part && text_1_.config)
    text_1_.model = std::make_unique<t2i::ClipText>(scope, *text_1_.config, /*with_projection=*/true);
  else if (part == text_2_.part && text_2_.config)
    text_2_.model = std::make_unique<t2i::ClipText>(scope, *text_2_.config, /*with_projection=*/true);
  else
    t2i::fail("there is no part '" + std::string(part) + "' in this model", T2I_E_MISSING);
}

void Sd3::forward(t2i::Named in, t2i::Sink out) {
  Tensor latents = in["latents"], source = in.get_or_none("image_latents");
  if (source) latents = t2i::cat({latents, source}, 1);
  out.put("prediction", t2i::built(transformer_, "transformer")(latents, in["timesteps"], in["prompt_embeds"], in["pooled"]));
}

void Sd3::tokenize(std::span<const char* const> texts, t2i::Sink out) {
  for (Text* text : {&text_1_, &text_2_}) {
    if (!text->config) t2i::fail(std::string("the model has no ") + text->part + ", so texts cannot be encoded", T2I_E_MISSING);
    std::call_once(text->tokenizer_read, [&] {
      auto read = [this](const std::string& path) { return assets_.read(path); };
      text->tokenizer = std::make_unique<t2i::ClipTokenizer>(read, text->tokenizer_folder, text->config->positions, text->config->vocabulary);
    });
    std::vector<int64_t> tokens, shape = {static_cast<int64_t>(texts.size()), text->tokenizer->length()};
    for (const char* one : texts) {
      std::vector<int64_t> row = text->tokenizer->encode(one);
      tokens.insert(tokens.end(), row.begin(), row.end());
    }
    out.put(text->tokens, t2i::tensor(std::span<const int64_t>(tokens), shape));
  }
}

t2i::ClipText::Output Sd3::encoded(const Text& text, t2i::Named in) const {
  return t2i::built(text.model, text.part)(in[text.tokens], {.skip = always_skipped + clip_skip_, .final_norm = false, .pooled = true});
}

// The CLIP models side by side, with zeros up to the width that the transformer wants, and T5's places behind them.
void Sd3::encode_text(t2i::Named in, t2i::Sink out) {
  auto first = encoded(text_1_, in), second = encoded(text_2_, in);
  Tensor clip = t2i::cat({first.hidden, second.hidden}, -1);
  clip = t2i::op<"constant_pad_nd">({clip, {0, transformer_config_.context_width - clip.size(-1)}});
  Tensor t5 = t2i::op<"new_zeros">({clip, {clip.size(0), t5_length_, clip.size(-1)}});
  out.put("prompt_embeds", t2i::cat({clip, t5}, 1));
  out.put("pooled", t2i::cat({first.pooled, second.pooled}, -1));
}

void Sd3::encode_image(t2i::Named in, t2i::Sink out) {
  auto [mean, logvar] = t2i::built(vae_, "vae").encode(in["pixels"]);
  out.put("mean", mean);
  out.put("logvar", logvar);
}

void Sd3::decode_image(t2i::Named in, t2i::Sink out) {
  const t2i::AutoencoderKL& vae = t2i::built(vae_, "vae");
  out.put("pixels", vae.decode(t2i::unscale_latents(in["latents"], *vae_config_)));
}

Tensor Sd3::scale_latents(Tensor sample) const {
  if (!vae_config_) t2i::fail("the model has no vae", T2I_E_MISSING);
  return t2i::scale_latents(sample, *vae_config_);
}

}  // namespace sd3
