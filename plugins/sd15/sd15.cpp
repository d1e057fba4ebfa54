#include "sd15.hpp"

#include "nn/file_names.hpp"

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

// How many tokens each text has: what the option says, or what the pipelines fill up to. A T5 that sets no length would
// have them fill up without end; it gets CLIP's.
int64_t t5_length(const Json& option, const Json& tokenizer) {
  if (option.is_number_integer()) return option;
  const Json said = tokenizer.value("model_max_length", Json());
  return said.is_number() && said >= 2 && said < 1e6 ? said.get<int64_t>() : 77;
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
  if (parts.class_of(t5_.name()) == "T5EncoderModel") t5_.read(parts);
  else clip_.read(parts, "CLIPTextModel", "T5EncoderModel");
  parts.done();
  if (!has_unet)
    t2i::fail("model_index.json: the model has no 'unet'. → Give a folder of Stable Diffusion 1.x's form.", T2I_E_MISSING);
  const Json& options = config.at("options");
  if (options.contains("clip_skip") && !options["clip_skip"].is_null()) clip_skip_ = options["clip_skip"];
  t5_.set_length(t5_length(options.value("t5_length", Json()), parts.config("tokenizer")));
  check_fit(parts, options.value("project_text", false));
  description_ = description(config, parts);
}

void Sd15::check_fit(const t2i::PartConfigs& parts, bool project_text) {
  if (unet_config_.addition_time_width)
    t2i::fail("unet/config.json: 'addition_embed_type' is \"text_time\"; supported: null. Models with it come from another family.",
              T2I_E_UNSUPPORTED);
  t2i::Misfits misfits;
  if (vae_config_)
    misfits.must_fit(vae_config_->latent_channels, parts.file("vae") + ": 'latent_channels'", unet_config_.out_channels,
                     "unet/config.json: 'out_channels'");
  if (clip_.there() && clip_skip_ > clip_.config().layers)
    misfits.add("clip_skip is " + std::to_string(clip_skip_) + ", but the text encoder has " + std::to_string(clip_.config().layers) + " layers");
  if (t5_.there() && clip_skip_)
    misfits.add("clip_skip is " + std::to_string(clip_skip_) + ", but the text encoder is a T5, of which all layers are used. → Leave it out.");
  if (has_text()) fit_text(parts, project_text, misfits);
  misfits.done();
}

void Sd15::fit_text(const t2i::PartConfigs& parts, bool project_text, t2i::Misfits& misfits) {
  const std::string file = parts.file("text_encoder"), tokenizer = parts.class_of("tokenizer");
  // Of another kind than the encoder it is the model's own, whose tokens mean other words.
  if (tokenizer.starts_with(t5_.there() ? "CLIP" : "T5"))
    misfits.add(file + ": the text encoder is a " + (t5_.there() ? "T5EncoderModel" : "CLIPTextModel") + ", but " + parts.folder("tokenizer") + "/ is a " +
                tokenizer + ". → Put the text encoder's own tokenizer (tokenizer_config.json with tokenizer.json" +
                (t5_.there() ? " or spiece.model" : ", or with vocab.json and merges.txt") + ") into its folder, into tokenizer/ there, or beside it.");
  const int64_t width = t5_.there() ? t5_.config().width : clip_.config().width, context = unet_config_.down.front().context_width;
  if (width == unet_config_.text_input()) return;
  const std::string what = file + (t5_.there() ? ": 'd_model'" : ": 'hidden_size'"), unet = "unet/config.json: '";
  const bool levels_differ =
      std::ranges::any_of(unet_config_.down, [&](const t2i::UnetLevel& level) { return level.context_width != context; });
  if (unet_config_.text_width)  // what projects is made for another text
    misfits.must_fit(width, what, unet_config_.text_width, unet + unet_config_.text_key() + "'");
  else if (project_text && levels_differ)
    misfits.add(unet + "cross_attention_dim' differs between levels; a projection (project_text) is to one width. → Take a text encoder that fits.");
  else if (!project_text)
    misfits.add(what + " is " + std::to_string(width) + ", but " + unet + "cross_attention_dim' is " + std::to_string(context) +
                ". → Take both from models that fit, or set plugin.project_text: true, which puts a linear layer between them that is trained "
                "with the UNet.");
  else
    unet_config_.text_width = width, new_projection_ = true;
}

std::string Sd15::description(const Json& config, const t2i::PartConfigs& parts) const {
  Json about;
  about["parts"]["unet"] = {{"role", "denoiser"}};
  if (new_projection_) {
    about["parts"]["unet"]["added"] = {"encoder_hid_proj."};
    about["config"]["unet"] = {{"encoder_hid_dim", unet_config_.text_width},
                               {"encoder_hid_dim_type", "text_proj"},
                               {"cross_attention_dim", unet_config_.down.front().context_width}};  // a list it must not be
  }
  // Listed whether or not the folder has them: a folder without is named as such when they are needed.
  about["parts"]["vae"] = t2i::autoencoder_part(vae_config_ && vae_config_->needs_range);
  about["parts"]["text_encoder"] = t5_.there() ? t2i::t5_text_part() : t2i::clip_text_part();
  about["parts"]["text_encoder"]["adapter_prefixes"] = {"lora_te_", "lora_te1_"};
  if (clip_.there()) about["parts"]["text_encoder"]["unused"] = clip_.unused({.skip = clip_skip_});
  if (t5_.there()) {
    const std::string tokenizer = parts.class_of("tokenizer");
    about["classes"] = {{"text_encoder", {"transformers", "T5EncoderModel"}},
                        {"tokenizer", {"transformers", tokenizer.empty() ? "T5TokenizerFast" : tokenizer}}};
    about["config"]["tokenizer"] = {{"model_max_length", t5_.length()}};  // what pipelines fill up to
  }
  int64_t downscale = vae_config_ ? vae_config_->downscale() : 8;
  about["latent"] = {{"channels", unet_config_.out_channels}, {"downscale", downscale}};
  if (unet_config_.sample_size) about["resolution"] = *unet_config_.sample_size * downscale;
  about["first_layer"] = {{"part", "unet"}, {"weight", "conv_in.weight"}, {"config_key", "in_channels"},
                          {"channels", unet_config_.in_channels}};
  about["source_latents"] = "unscaled";
  about["watched_gradients"] = {"*.to_q.weight", "*.to_k.weight"};
  about["parameter_groups"] = {{"attention", Json::array({"*.attn1.*", "*.attn2.*"})}, {"cross_attention", Json::array({"*.attn2.*"})},
                               {"attention_out", Json::array({"*.attn*.to_out.*"})}};
  about["kohya"] = {{"names", "own"}, {"metadata", {{"ss_base_model_version", "sd_v1"}, {"modelspec.architecture", "stable-diffusion-v1/lora"}}}};
  if (unet_config_.text_width) about["parameter_groups"]["text_projection"] = Json::array({"encoder_hid_proj.*"});
  if (has_text()) about["token_limit"] = t5_.there() ? t5_.length() : clip_.config().positions;
  about["default_loss"] = t2i::objective_of(config.value("scheduler", Json::object()));
  about["default_steps"] = {{"ip2p", 100}};  // the pipeline's
  about["default_sampler"] = about["default_loss"] == "rectified_flow" ? "flow_euler" : "ddim";
  about["scheduler_overrides"]["text"] = changes_of_the_text_pipeline(config.value("scheduler", Json::object()));
  about["pipelines"] = {{"text", "StableDiffusionPipeline"}, {"ip2p", "StableDiffusionInstructPix2PixPipeline"}};
  return about.dump();
}

const char* Sd15::file_names() {
  Json parts;
  parts["unet"] = t2i::unet_file_names(unet_config_);
  if (vae_config_) parts["vae"] = t2i::autoencoder_file_names(*vae_config_, {"first_stage_model.", "vae.", ""});
  if (t5_.there()) parts[t5_.name()] = t2i::t5_file_names({"text_encoders.t5xxl.transformer.", ""});
  if (clip_.there())
    parts[clip_.name()] = Json::array({
        t2i::clip_file_form({"cond_stage_model.transformer.", ""}, t2i::FileProjection::none).json(),
        t2i::open_clip_file_form(clip_.config(), {"cond_stage_model.model."}, /*with_projection=*/false).json()});
  return (file_names_ = parts.dump()).c_str();
}

void Sd15::build(std::string_view part, t2i::Scope scope) {
  if (part == "unet")
    unet_ = std::make_unique<t2i::Unet>(scope, unet_config_);
  else if (part == "vae" && vae_config_)
    vae_ = std::make_unique<t2i::AutoencoderKL>(scope, *vae_config_);
  else if (part == t5_.name() && t5_.there())
    t5_.build(scope);
  else if (part == clip_.name() && clip_.there())
    clip_.build(scope, /*with_projection=*/false);
  else
    t2i::fail("there is no part '" + std::string(part) + "' in this model", T2I_E_MISSING);
}

void Sd15::forward(t2i::Named in, t2i::Sink out) {
  t2i::Tensor latents = in["latents"], source = in.get_or_none("image_latents");
  if (source) latents = t2i::cat({latents, source}, 1);
  out.put("prediction", t2i::built(unet_, "unet")({.latents = latents, .timesteps = in["timesteps"], .context = in["prompt_embeds"]}));
}

void Sd15::tokenize(std::span<const char* const> texts, t2i::Sink out) {
  if (!has_text()) t2i::fail("the model has no text encoder, so texts cannot be encoded", T2I_E_MISSING);
  if (t5_.there()) t5_.tokenize(assets_, texts, out);
  else clip_.tokenize(assets_, texts, out);
}

void Sd15::encode_text(t2i::Named in, t2i::Sink out) {
  out.put("prompt_embeds", t5_.there() ? t5_.encode(in) : clip_.encode(in, {.skip = clip_skip_}).hidden);
}

}  // namespace sd15
