#include "sd15.hpp"

#include "nn/file_names.hpp"
#include "nn/put_tokens.hpp"

namespace sd15 {

using t2i::Json;

namespace {

// What StableDiffusionPipeline sets in the scheduler it is given, whatever its file says; the pipeline for edits does not.
Json changes_of_the_text_pipeline(const Json& scheduler) {
  std::string name = t2i::scheduler_text(scheduler, "_class_name", "");
  if (name.starts_with("FlowMatch")) return Json::object();
  Json changes = {{"steps_offset", 1}};
  bool clips_unless_told = name == "DDIMScheduler" || name == "DDPMScheduler";
  Json clips = scheduler.value("clip_sample", Json(clips_unless_told));
  if (clips == Json(true)) changes["clip_sample"] = false;
  return changes;
}

}  // namespace

Sd15::Sd15(const Json& config, t2i::Assets assets) : assets_(assets) {
  t2i::PartConfigs parts(config);
  bool has_unet = parts.read("unet", "UNet2DConditionModel", [&](const Json& c, const std::string& file) {
    unet_config_ = t2i::read_unet_config(c, file);
  });
  parts.read("vae", "AutoencoderKL", [&](const Json& c, const std::string& file) {
    vae_config_ = t2i::read_autoencoder_config(c, file);
  });
  parts.read("text_encoder", "CLIPTextModel", [&](const Json& c, const std::string& file) {
    text_config_ = t2i::read_clip_text_config(c, file);
  });
  parts.done();
  if (!has_unet)
    t2i::fail("model_index.json: the model has no 'unet'. → Give a folder of Stable Diffusion 1.x's form.", T2I_E_MISSING);
  const Json& options = config.at("options");
  if (options.contains("clip_skip") && !options["clip_skip"].is_null()) clip_skip_ = options["clip_skip"];
  check_fit(parts);
  description_ = description(config);
}

void Sd15::check_fit(const t2i::PartConfigs& parts) const {
  if (unet_config_.addition_time_width)
    t2i::fail("unet/config.json: 'addition_embed_type' is \"text_time\"; supported: null. Models with it come from another family.",
              T2I_E_UNSUPPORTED);
  int64_t context = unet_config_.down.front().context_width;
  if (text_config_)
    t2i::must_fit(text_config_->width, parts.file("text_encoder") + ": 'hidden_size'", context,
                  "unet/config.json: 'cross_attention_dim'");
  if (vae_config_)
    t2i::must_fit(vae_config_->latent_channels, parts.file("vae") + ": 'latent_channels'", unet_config_.out_channels,
                  "unet/config.json: 'out_channels'");
  if (text_config_ && clip_skip_ > text_config_->layers)
    t2i::fail("clip_skip is " + std::to_string(clip_skip_) + ", but the text encoder has " +
              std::to_string(text_config_->layers) + " layers");
}

std::string Sd15::description(const Json& config) const {
  Json about;
  about["parts"]["unet"] = {{"role", "denoiser"}};
  // Listed whether or not the folder has them: a folder without is named as such when they are needed.
  about["parts"]["vae"] = t2i::autoencoder_part(vae_config_ && vae_config_->needs_range);
  about["parts"]["text_encoder"] = t2i::clip_text_part();
  int64_t downscale = vae_config_ ? vae_config_->downscale() : 8;
  about["latent"] = {{"channels", unet_config_.out_channels}, {"downscale", downscale}};
  if (unet_config_.sample_size) about["resolution"] = *unet_config_.sample_size * downscale;
  about["first_layer"] = {{"part", "unet"}, {"weight", "conv_in.weight"}, {"config_key", "in_channels"},
                          {"channels", unet_config_.in_channels}};
  about["source_latents"] = "unscaled";
  about["watched_gradients"] = {"*.to_q.weight", "*.to_k.weight"};
  about["parameter_groups"] = {{"attention", Json::array({"*.attn1.*", "*.attn2.*"})}, {"cross_attention", Json::array({"*.attn2.*"})}};
  if (text_config_) about["token_limit"] = text_config_->positions;
  about["default_loss"] = t2i::objective_of(config.value("scheduler", Json::object()));
  about["default_sampler"] = about["default_loss"] == "rectified_flow" ? "flow_euler" : "ddim";
  about["scheduler_overrides"]["text"] = changes_of_the_text_pipeline(config.value("scheduler", Json::object()));
  about["pipelines"] = {{"text", "StableDiffusionPipeline"}, {"ip2p", "StableDiffusionInstructPix2PixPipeline"}};
  return about.dump();
}

const char* Sd15::file_names() {
  Json parts;
  parts["unet"] = t2i::unet_file_names(unet_config_);
  if (vae_config_) parts["vae"] = t2i::autoencoder_file_names(*vae_config_, {"first_stage_model.", "vae.", ""});
  if (text_config_)
    parts["text_encoder"] = Json::array({
        t2i::clip_file_form({"cond_stage_model.transformer.", ""}, t2i::FileProjection::none).json(),
        t2i::open_clip_file_form(*text_config_, {"cond_stage_model.model."}, /*with_projection=*/false).json()});
  return (file_names_ = parts.dump()).c_str();
}

void Sd15::build(std::string_view part, t2i::Scope scope) {
  if (part == "unet")
    unet_ = std::make_unique<t2i::Unet>(scope, unet_config_);
  else if (part == "vae" && vae_config_)
    vae_ = std::make_unique<t2i::AutoencoderKL>(scope, *vae_config_);
  else if (part == "text_encoder" && text_config_)
    text_encoder_ = std::make_unique<t2i::ClipText>(scope, *text_config_);
  else
    t2i::fail("there is no part '" + std::string(part) + "' in this model", T2I_E_MISSING);
}

void Sd15::forward(t2i::Named in, t2i::Sink out) {
  t2i::Tensor latents = in["latents"], source = in.get_or_none("image_latents");
  if (source) latents = t2i::cat({latents, source}, 1);
  out.put("prediction", t2i::built(unet_, "unet")({.latents = latents, .timesteps = in["timesteps"], .context = in["prompt_embeds"]}));
}

const t2i::ClipTokenizer& Sd15::tokenizer() {
  if (!text_config_) t2i::fail("the model has no text encoder, so texts cannot be encoded", T2I_E_MISSING);
  std::call_once(tokenizer_read_, [this] {
    auto read = [this](const std::string& path) { return assets_.read(path); };
    tokenizer_ = std::make_unique<t2i::ClipTokenizer>(read, "tokenizer", text_config_->positions, text_config_->vocabulary);
  });
  return *tokenizer_;
}

void Sd15::tokenize(std::span<const char* const> texts, t2i::Sink out) {
  const t2i::ClipTokenizer& t = tokenizer();
  t2i::put_tokens(texts, out, "tokens", [&](const char* one, int64_t* cut) { return t.encode(one, cut); });
}

void Sd15::encode_text(t2i::Named in, t2i::Sink out) {
  out.put("prompt_embeds", t2i::built(text_encoder_, "text_encoder")(in["tokens"], {.skip = clip_skip_}).hidden);
}

}  // namespace sd15
