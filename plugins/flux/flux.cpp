#include "flux.hpp"

#include "nn/file_names.hpp"

namespace flux {

using t2i::Json;
using t2i::Tensor;

namespace {

constexpr int64_t side = 128;  // of a picture's latents in the pipelines, whose configurations do not say it

}  // namespace

Flux::Flux(const Json& config, t2i::Assets assets) : assets_(assets) {
  t2i::PartConfigs parts(config);
  bool has_transformer = parts.read(
      "transformer", "FluxTransformer2DModel",
      [&](const Json& c, const std::string& file) { transformer_config_ = read_transformer_config(c, file); });
  parts.read("vae", "AutoencoderKL",
             [&](const Json& c, const std::string& file) { vae_config_ = t2i::read_autoencoder_config(c, file); });
  clip_.read(parts, "CLIPTextModel");
  t5_.read(parts);
  parts.done();
  if (!has_transformer)
    t2i::fail("model_index.json: the model has no 'transformer'. → Give a folder of FLUX.1's form.", T2I_E_MISSING);
  const Json& options = config.at("options");
  t5_.set_length(options.value("t5_length", int64_t{512}));
  guidance_ = options.value("guidance", 3.5);
  training_guidance_ = options.value("training_guidance", 1.0);
  check_fit(parts);
  description_ = description(config);
}

void Flux::check_fit(const t2i::PartConfigs& parts) const {
  const TransformerConfig& c = transformer_config_;
  t2i::Misfits misfits;
  if (vae_config_)
    misfits.must_fit(vae_config_->latent_channels * TransformerConfig::packed,
                     parts.file("vae") + ": 'latent_channels', packed 2 x 2,", c.out_channels * TransformerConfig::packed,
                     "transformer/config.json: 'out_channels' (or 'in_channels' without it)");
  if (clip_.there())
    misfits.must_fit(clip_.config().width, parts.file("text_encoder") + ": 'hidden_size'", c.pooled_width,
                     "transformer/config.json: 'pooled_projection_dim'");
  if (t5_.there())
    misfits.must_fit(t5_.config().width, parts.file("text_encoder_2") + ": 'd_model'", c.context_width,
                     "transformer/config.json: 'joint_attention_dim'");
  misfits.done();
}

std::string Flux::description(const Json& config) const {
  const TransformerConfig& c = transformer_config_;
  Json about;
  about["parts"]["transformer"] = {{"role", "denoiser"}};
  about["parts"]["vae"] = t2i::autoencoder_part(vae_config_ && vae_config_->needs_range);
  about["parts"][clip_.name()] = t2i::clip_text_part();
  about["parts"][t5_.name()] = t2i::t5_text_part();
  const int64_t downscale = vae_config_ ? vae_config_->downscale() : 8;
  about["latent"] = {{"channels", c.out_channels}, {"downscale", downscale}, {"patch", TransformerConfig::patch}};
  about["resolution"] = side * downscale;
  // Without 'out_channels' there would be as many as in a widened 'in_channels'.
  about["first_layer"] = {{"part", "transformer"},
                          {"weight", "x_embedder.weight"},
                          {"config_key", "in_channels"},
                          {"channels", c.in_channels},
                          {"per_channel", TransformerConfig::packed},
                          {"config", {{"out_channels", c.out_channels * TransformerConfig::packed}}}};
  about["source_latents"] = "scaled";
  about["watched_gradients"] = {"*.to_q.weight", "*.to_k.weight"};
  about["parameter_groups"] = {{"attention", Json::array({"*.attn.*"})},
                               {"attention_out", Json::array({"*.to_out.*", "*.to_add_out.*"})}};
  about["parts"][t5_.name()]["adapter_prefixes"] = {"lora_te3_", "lora_te2_"};  // kohya's programs count it as SD3's
  about["kohya"] = {{"names", "file"}, {"metadata", {{"ss_base_model_version", "flux1"}, {"modelspec.architecture", "flux-1-dev/lora"}}}};
  about["token_limit"] = t5_.length();
  if (c.guidance) about["distilled_guidance"] = {{"generating", guidance_}, {"training", training_guidance_}};
  about["default_loss"] = t2i::objective_of(config.value("scheduler", Json::object()));
  about["default_sampler"] = "flow_euler";
  about["default_steps"] = 28;  // as the pipeline has it
  about["flow_ends_at_step"] = true;
  // Guidance is distilled into the model: the pipeline makes no second prediction unless it is asked to.
  about["default_task_options"] = {{"text", {{"guidance_scale", 1}}}};
  about["pipelines"] = {{"text", "FluxPipeline"}, {"ip2p", "FluxControlPipeline"}};
  return about.dump();
}

const char* Flux::file_names() {
  Json parts;
  parts["transformer"] = transformer_file_names(transformer_config_);
  if (vae_config_) parts["vae"] = t2i::autoencoder_file_names(*vae_config_, {"vae.", "first_stage_model.", ""});
  if (clip_.there())
    parts[clip_.name()] = Json::array({t2i::clip_file_form({"text_encoders.clip_l.transformer.", ""}, t2i::FileProjection::none).json()});
  if (t5_.there()) parts[t5_.name()] = t2i::t5_file_names({"text_encoders.t5xxl.transformer.", ""});
  return (file_names_ = parts.dump()).c_str();
}

void Flux::build(std::string_view part, t2i::Scope scope) {
  if (part == "transformer") transformer_ = std::make_unique<Transformer>(scope, transformer_config_);
  else if (part == "vae" && vae_config_) vae_ = std::make_unique<t2i::AutoencoderKL>(scope, *vae_config_);
  else if (part == clip_.name() && clip_.there()) clip_.build(scope, /*with_projection=*/false);
  else if (part == t5_.name() && t5_.there()) t5_.build(scope);
  else t2i::fail("there is no part '" + std::string(part) + "' in this model", T2I_E_MISSING);
}

void Flux::forward(t2i::Named in, t2i::Sink out) {
  Tensor latents = in["latents"], source = in.get_or_none("image_latents"), guidance = in.get_or_none("guidance");
  if (source) latents = t2i::cat({latents, source}, 1);  // packed, they lie side by side: channels are the slowest
  if (transformer_config_.guidance && !guidance)
    guidance = t2i::op<"full_like">({t2i::to(in["timesteps"], T2I_F32), guidance_});
  out.put("prediction", t2i::built(transformer_, "transformer")({.latents = latents,
                                                                 .timesteps = in["timesteps"],
                                                                 .guidance = guidance,
                                                                 .context = in["prompt_embeds"],
                                                                 .pooled = in["pooled"]}));
}

void Flux::tokenize(std::span<const char* const> texts, t2i::Sink out) {
  for (const auto& [there, name] : {std::pair{clip_.there(), clip_.name()}, std::pair{t5_.there(), t5_.name()}})
    if (!there) t2i::fail(std::string("the model has no ") + name + ", so texts cannot be encoded", T2I_E_MISSING);
  clip_.tokenize(assets_, texts, out);
  t5_.tokenize(assets_, texts, out);
}

void Flux::encode_text(t2i::Named in, t2i::Sink out) {
  out.put("prompt_embeds", t5_.encode(in));
  out.put("pooled", clip_.encode(in, {.pooled = true}).pooled);
}

}  // namespace flux
