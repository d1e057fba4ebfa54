#include "sdxl.hpp"

#include "nn/file_names.hpp"

namespace sdxl {

using t2i::Json;

namespace {

// What diffusers' refiner pipeline asks for unless told. Its 2.5 for the branch without a prompt is not offered: sizes are
// of a sample here, not of a branch. The text task draws with a refiner as with any model, from noise.
constexpr double aesthetic_score = 6;
constexpr int64_t always_skipped = 1;  // of each text model's layers

}  // namespace

Sdxl::Sdxl(const Json& config, t2i::Assets assets) : assets_(assets) {
  t2i::PartConfigs parts(config);
  bool has_unet = parts.read("unet", "UNet2DConditionModel", [&](const Json& c, const std::string& file) {
    unet_config_ = t2i::read_unet_config(c, file);
  });
  parts.read("vae", "AutoencoderKL",
             [&](const Json& c, const std::string& file) { vae_config_ = t2i::read_autoencoder_config(c, file); });
  text_1_.read(parts, "CLIPTextModel");
  text_2_.read(parts, "CLIPTextModelWithProjection");
  parts.done();
  if (!has_unet)
    t2i::fail("model_index.json: the model has no 'unet'. → Give a folder of Stable Diffusion XL's form.",
              T2I_E_MISSING);
  const Json& options = config.at("options");
  if (options.contains("clip_skip") && !options["clip_skip"].is_null()) clip_skip_ = options["clip_skip"];
  check_fit(parts);
  description_ = description(config);
}

void Sdxl::check_fit(const t2i::PartConfigs& parts) const {
  const t2i::UnetConfig& u = unet_config_;
  if (!u.addition_time_width)
    t2i::fail(
        "unet/config.json: 'addition_embed_type' is null; supported: \"text_time\". Models without it come from "
        "another family.",
        T2I_E_UNSUPPORTED);
  t2i::Misfits misfits;
  if (vae_config_)
    misfits.must_fit(vae_config_->latent_channels, parts.file("vae") + ": 'latent_channels'", u.out_channels,
                     "unet/config.json: 'out_channels'");
  for (const t2i::ClipPart* text : {&text_1_, &text_2_})
    if (text->there() && always_skipped + clip_skip_ > text->config().layers)
      misfits.add("clip_skip is " + std::to_string(clip_skip_) + ", but " + text->name() + " has " +
                  std::to_string(text->config().layers) + " layers, of which the last is always left out");
  if (text_2_.there()) {
    const t2i::ClipTextConfig& second = text_2_.config();
    const std::string file = parts.file("text_encoder_2") + ": ";
    misfits.must_fit(second.width + (text_1_.there() ? text_1_.config().width : 0),
                     file + "'hidden_size'" + (text_1_.there() ? " together with that of " + parts.file("text_encoder") : ""),
                     u.text_input(), std::string("unet/config.json: '") + u.text_key() + "'");
    const int64_t sizes = is_refiner() ? 5 : 6;
    misfits.must_fit(second.projection_width + sizes * u.addition_time_width,
                     file + "'projection_dim' together with " + std::to_string(sizes) + " sizes",
                     u.addition_input_width, "unet/config.json: 'projection_class_embeddings_input_dim'");
  }
  misfits.done();
}

std::string Sdxl::description(const Json& config) const {
  Json about;
  about["parts"]["unet"] = {{"role", "denoiser"}};
  about["parts"]["vae"] = t2i::autoencoder_part(vae_config_ && vae_config_->needs_range);
  // Whatever the training's precision: the published one exceeds float16, and the eight bits of bfloat16 would show in
  // every latent that is learnt from.
  about["parts"]["vae"]["auto_dtype"] = "float32";
  // A refiner has no first text encoder, and a folder without both is named as such when they are needed.
  if (text_1_.there() || !text_2_.there()) about["parts"][text_1_.name()] = t2i::clip_text_part();
  if (text_1_.there()) about["parts"][text_1_.name()]["unused"] = text_1_.unused(wanted_of_the_first());
  about["parts"][text_2_.name()] = t2i::clip_text_part();
  int64_t downscale = vae_config_ ? vae_config_->downscale() : 8;
  about["latent"] = {{"channels", unet_config_.out_channels}, {"downscale", downscale}};
  if (unet_config_.sample_size) about["resolution"] = *unet_config_.sample_size * downscale;
  about["first_layer"] = {{"part", "unet"},
                          {"weight", "conv_in.weight"},
                          {"config_key", "in_channels"},
                          {"channels", unet_config_.in_channels}};
  about["source_latents"] = "unscaled";
  about["watched_gradients"] = {"*.to_q.weight", "*.to_k.weight"};
  about["parameter_groups"] = {{"attention", Json::array({"*.attn1.*", "*.attn2.*"})}, {"cross_attention", Json::array({"*.attn2.*"})},
                               {"attention_out", Json::array({"*.attn*.to_out.*"})}};
  about["kohya"] = {{"names", "file"},
                    {"metadata", {{"ss_base_model_version", "sdxl_base_v1-0"}, {"modelspec.architecture", "stable-diffusion-xl-v1-base/lora"}}}};
  about["size_conditioning"] = true;
  const Json index = config.value("index", Json::object());
  about["zero_empty_negative"] = !index.is_object() || index.value("force_zeros_for_empty_prompt", Json(true)) != false;
  if (text_2_.there()) about["token_limit"] = text_2_.config().positions;
  const Json scheduler = config.value("scheduler", Json::object());
  about["default_loss"] = t2i::objective_of(scheduler);
  about["default_task_options"] = {{"text", {{"guidance_scale", 5}}}, {"ip2p", {{"guidance_scale", 5}}}};  // the pipelines'
  about["default_steps"] = {{"ip2p", 100}};
  about["default_sampler"] = about["default_loss"] == "rectified_flow" ? "flow_euler" : "euler";
  about["pipelines"] = {
      {"text", is_refiner() ? "StableDiffusionXLImg2ImgPipeline" : "StableDiffusionXLPipeline"},
      {"ip2p", "StableDiffusionXLInstructPix2PixPipeline"}};
  return about.dump();
}

const char* Sdxl::file_names() {
  Json parts;
  parts["unet"] = t2i::unet_file_names(unet_config_);
  if (vae_config_) parts["vae"] = t2i::autoencoder_file_names(*vae_config_, {"first_stage_model.", "vae.", ""});
  if (text_1_.there())
    parts[text_1_.name()] = Json::array({t2i::clip_file_form({"conditioner.embedders.0.transformer.", ""}, t2i::FileProjection::none).json()});
  if (text_2_.there()) {
    const char* prefix = is_refiner() ? "conditioner.embedders.0.model." : "conditioner.embedders.1.model.";
    parts[text_2_.name()] = Json::array({t2i::open_clip_file_form(text_2_.config(), {prefix, ""}, /*with_projection=*/true).json()});
  }
  return (file_names_ = parts.dump()).c_str();
}

void Sdxl::build(std::string_view part, t2i::Scope scope) {
  if (part == "unet") unet_ = std::make_unique<t2i::Unet>(scope, unet_config_);
  else if (part == "vae" && vae_config_) vae_ = std::make_unique<t2i::AutoencoderKL>(scope, *vae_config_);
  else if (part == text_1_.name() && text_1_.there()) text_1_.build(scope, /*with_projection=*/false);
  else if (part == text_2_.name() && text_2_.there()) text_2_.build(scope, /*with_projection=*/true);
  else t2i::fail("there is no part '" + std::string(part) + "' in this model", T2I_E_MISSING);
}

// [n,6] → what this UNet was built for: itself, or (original and crop, score) for a refiner.
t2i::Tensor Sdxl::sizes_for_the_unet(const t2i::Tensor& time_ids) const {
  if (!is_refiner() || time_ids.size(1) != 6) return time_ids;
  t2i::Tensor kept = t2i::slice(time_ids, 1, 0, 4);
  t2i::Tensor score = t2i::op<"full_like">({t2i::slice(time_ids, 1, 4, 5), aesthetic_score});
  return t2i::cat({kept, score}, 1);
}

void Sdxl::forward(t2i::Named in, t2i::Sink out) {
  t2i::Tensor latents = in["latents"], source = in.get_or_none("image_latents");
  if (source) latents = t2i::cat({latents, source}, 1);
  out.put("prediction", t2i::built(unet_, "unet")({.latents = latents,
                                                   .timesteps = in["timesteps"],
                                                   .context = in["prompt_embeds"],
                                                   .pooled = in["pooled"],
                                                   .time_ids = sizes_for_the_unet(in["time_ids"])}));
}

void Sdxl::tokenize(std::span<const char* const> texts, t2i::Sink out) {
  if (!text_2_.there()) t2i::fail("the model has no text_encoder_2, so texts cannot be encoded", T2I_E_MISSING);
  for (t2i::ClipPart* text : {&text_1_, &text_2_})
    if (text->there()) text->tokenize(assets_, texts, out);
}

t2i::ClipText::Wanted Sdxl::wanted_of_the_first() const { return {.skip = always_skipped + clip_skip_, .final_norm = false}; }

void Sdxl::encode_text(t2i::Named in, t2i::Sink out) {
  const int64_t skip = always_skipped + clip_skip_;
  auto second = text_2_.encode(in, {.skip = skip, .final_norm = false, .pooled = true});
  t2i::Tensor embeds = second.hidden;
  if (text_1_.there()) embeds = t2i::cat({text_1_.encode(in, wanted_of_the_first()).hidden, embeds}, -1);
  out.put("prompt_embeds", embeds);
  out.put("pooled", second.pooled);
}

}  // namespace sdxl
