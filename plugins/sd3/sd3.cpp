#include "sd3.hpp"

#include <algorithm>

#include "nn/file_names.hpp"

namespace sd3 {

using t2i::Json;
using t2i::Tensor;

constexpr int64_t always_skipped = 1;  // of each CLIP model's layers
constexpr int64_t clip_length = 77;    // of a text, where no CLIP model says it

Sd3::Sd3(const Json& config, t2i::Assets assets) : assets_(assets) {
  t2i::PartConfigs parts(config);
  bool has_transformer = parts.read("transformer", "SD3Transformer2DModel", [&](const Json& c, const std::string& file) {
    transformer_config_ = read_mmdit_config(c, file);
  });
  parts.read("vae", "AutoencoderKL", [&](const Json& c, const std::string& file) {
    vae_config_ = t2i::read_autoencoder_config(c, file);
  });
  for (t2i::ClipPart* text : {&text_1_, &text_2_}) text->read(parts, "CLIPTextModelWithProjection");
  text_3_.read(parts);
  parts.done();
  if (!has_transformer)
    t2i::fail("model_index.json: the model has no 'transformer'. → Give a folder of Stable Diffusion 3's form.", T2I_E_MISSING);
  const Json& options = config.at("options");
  if (options.contains("clip_skip") && !options["clip_skip"].is_null()) clip_skip_ = options["clip_skip"];
  text_3_.set_length(options.value("t5_length", int64_t{256}));
  check_fit(parts);
  description_ = description(config);
}

void Sd3::check_fit(const t2i::PartConfigs& parts) const {
  const MmditConfig& c = transformer_config_;
  t2i::Misfits misfits;
  if (vae_config_)
    misfits.must_fit(vae_config_->latent_channels, parts.file("vae") + ": 'latent_channels'", c.out_channels,
                     "transformer/config.json: 'out_channels'");
  for (const t2i::ClipPart* text : {&text_1_, &text_2_})
    if (text->there() && always_skipped + clip_skip_ > text->config().layers)
      misfits.add("clip_skip is " + std::to_string(clip_skip_) + ", but " + text->name() + " has " +
                  std::to_string(text->config().layers) + " layers, of which the last is always left out");
  if (text_3_.there())
    misfits.must_fit(text_3_.config().width, parts.file("text_encoder_3") + ": 'd_model'", c.context_width,
                     "transformer/config.json: 'joint_attention_dim'");
  int64_t pooled = 0, width = 0, there = 0;
  for (const t2i::ClipPart* text : {&text_1_, &text_2_})
    if (text->there()) pooled += text->config().projection_width, width += text->config().width, ++there;
  const std::string last = parts.file(text_2_.there() ? "text_encoder_2" : "text_encoder"),
                    both = there == 2 ? " together with that of " + parts.file("text_encoder") : "";
  // One model alone is filled up with zeros to where the other would end.
  if (there == 2 || pooled > c.pooled_width)
    misfits.must_fit(pooled, last + ": 'projection_dim'" + both, c.pooled_width, "transformer/config.json: 'pooled_projection_dim'");
  // Before the second model alone lie zeros in place of the first one's, as wide as that one's pooled text would be.
  const int64_t before = there == 1 && text_2_.there() ? std::max<int64_t>(0, c.pooled_width - pooled) : 0;
  if (before + width > c.context_width)
    misfits.must_fit(before + width, last + ": 'hidden_size'" + both + (before ? " behind the " + std::to_string(before) + " zeros of a text_encoder that is left out" : ""),
                     c.context_width, "transformer/config.json: 'joint_attention_dim'");
  misfits.done();
}

std::string Sd3::description(const Json& config) const {
  Json about;
  about["parts"]["transformer"] = {{"role", "denoiser"}};
  about["parts"]["vae"] = t2i::autoencoder_part(vae_config_ && vae_config_->needs_range);
  // A text encoder that model_index.json leaves out is not missed, but where it lists none, all are.
  const Json index = config.value("index", Json::object());
  auto listed = [&](const char* part) {
    auto found = index.find(part);
    return found != index.end() && found->is_array() && found->size() == 2 && (*found)[0].is_string();
  };
  const bool none = !listed(text_1_.name()) && !listed(text_2_.name()) && !listed(text_3_.name());
  auto text_part = [&](const char* name, bool there, Json about_it) {
    about_it["optional"] = true;
    if (there || none || listed(name)) about["parts"][name] = about_it;
  };
  for (const t2i::ClipPart* text : {&text_1_, &text_2_}) text_part(text->name(), text->there(), t2i::clip_text_part());
  text_part(text_3_.name(), text_3_.there(), t2i::t5_text_part());
  const int64_t downscale = vae_config_ ? vae_config_->downscale() : 8;
  about["latent"] = {{"channels", transformer_config_.out_channels}, {"downscale", downscale}, {"patch", transformer_config_.patch},
                     {"most_places", transformer_config_.places}};
  about["resolution"] = transformer_config_.sample_size * downscale;
  about["first_layer"] = {{"part", "transformer"}, {"weight", "pos_embed.proj.weight"}, {"config_key", "in_channels"},
                          {"channels", transformer_config_.in_channels}};
  about["source_latents"] = "scaled";
  about["watched_gradients"] = {"*.to_q.weight", "*.to_k.weight"};
  about["parameter_groups"] = {{"attention", Json::array({"*.attn.*", "*.attn2.*"})},
                               {"attention_out", Json::array({"*.to_out.*", "*.to_add_out.*"})}};
  about["kohya"] = {{"names", "file"}, {"metadata", {{"ss_base_model_version", "sd3"}, {"modelspec.architecture", "stable-diffusion-3/lora"}}}};
  if (text_1_.there()) about["token_limit"] = text_1_.config().positions;
  about["default_loss"] = t2i::objective_of(config.value("scheduler", Json::object()));
  about["default_loss_options"] = {{"weighting", "logit_normal"}};  // Esser et al. 2024, §3.1: rf/lognorm(0.00, 1.00)
  about["default_sampler"] = "flow_euler";
  about["default_steps"] = 28;  // as the pipeline has it, and the guidance
  about["default_task_options"] = {{"text", {{"guidance_scale", 7}}}};
  // diffusers has no pipeline for editing: what the transformer takes in tells.
  const bool edits = transformer_config_.in_channels != transformer_config_.out_channels;
  about["pipelines"] = {{edits ? "ip2p" : "text", "StableDiffusion3Pipeline"}};
  return about.dump();
}

// The published file's CLIP-L has no projection: there it is the identity.
const char* Sd3::file_names() {
  Json parts;
  parts["transformer"] = mmdit_file_names(transformer_config_);
  if (vae_config_) parts["vae"] = t2i::autoencoder_file_names(*vae_config_, {"first_stage_model.", "vae.", ""});
  if (text_1_.there())
    parts[text_1_.name()] = Json::array({t2i::clip_file_form({"text_encoders.clip_l.transformer.", ""}, t2i::FileProjection::identity).json()});
  if (text_2_.there())
    parts[text_2_.name()] = Json::array({t2i::clip_file_form({"text_encoders.clip_g.transformer.", ""}, t2i::FileProjection::there).json()});
  if (text_3_.there()) parts[text_3_.name()] = t2i::t5_file_names({"text_encoders.t5xxl.transformer.", ""});
  return (file_names_ = parts.dump()).c_str();
}

void Sd3::build(std::string_view part, t2i::Scope scope) {
  if (part == "transformer")
    transformer_ = std::make_unique<Mmdit>(scope, transformer_config_);
  else if (part == "vae" && vae_config_)
    vae_ = std::make_unique<t2i::AutoencoderKL>(scope, *vae_config_);
  else if (part == text_1_.name() && text_1_.there())
    text_1_.build(scope, /*with_projection=*/true);
  else if (part == text_2_.name() && text_2_.there())
    text_2_.build(scope, /*with_projection=*/true);
  else if (part == text_3_.name() && text_3_.there())
    text_3_.build(scope);
  else
    t2i::fail("there is no part '" + std::string(part) + "' in this model", T2I_E_MISSING);
}

void Sd3::forward(t2i::Named in, t2i::Sink out) {
  Tensor latents = in["latents"], source = in.get_or_none("image_latents");
  if (source) latents = t2i::cat({latents, source}, 1);
  out.put("prediction", t2i::built(transformer_, "transformer")(latents, in["timesteps"], in["prompt_embeds"], in["pooled"]));
}

void Sd3::tokenize(std::span<const char* const> texts, t2i::Sink out) {
  if (!text_1_.there() && !text_2_.there() && !text_3_.there())
    t2i::fail("the model has no text encoder, so texts cannot be encoded", T2I_E_MISSING);
  for (t2i::ClipPart* text : {&text_1_, &text_2_})
    if (text->there()) text->tokenize(assets_, texts, out);
  if (text_3_.there()) text_3_.tokenize(assets_, texts, out);
}

// The CLIP models side by side, with zeros up to the width that the transformer wants, and T5's places behind them. What a
// folder leaves out is zeros, as the pipeline has it for T5; of a CLIP model that is not there the width is what the other
// one leaves of the pooled text (in published models both widths of a CLIP model are the same).
void Sd3::encode_text(t2i::Named in, t2i::Sink out) {
  const MmditConfig& c = transformer_config_;
  const t2i::ClipText::Wanted wanted{.skip = always_skipped + clip_skip_, .final_norm = false, .pooled = true};
  t2i::ClipText::Output first, second;
  Tensor t5;
  if (text_1_.there()) first = text_1_.encode(in, wanted);
  if (text_2_.there()) second = text_2_.encode(in, wanted);
  if (text_3_.there()) t5 = text_3_.encode(in);

  const Tensor like = first.hidden ? first.hidden : second.hidden ? second.hidden : t5;
  auto zeros = [&](std::initializer_list<int64_t> rest) {
    std::vector<int64_t> shape{like.size(0)};
    shape.insert(shape.end(), rest);
    return t2i::op<"new_zeros">({like, std::span<const int64_t>(shape)});
  };
  if (!first.hidden && !second.hidden) second = {zeros({clip_length, c.context_width}), zeros({c.pooled_width})};
  if (!first.hidden) {
    const int64_t width = c.pooled_width - second.pooled.size(-1);
    first = {zeros({second.hidden.size(1), width}), zeros({width})};
  }
  if (!second.hidden) second = {zeros({first.hidden.size(1), 0}), zeros({c.pooled_width - first.pooled.size(-1)})};
  Tensor clip = t2i::cat({first.hidden, second.hidden}, -1);
  clip = t2i::op<"constant_pad_nd">({clip, {0, c.context_width - clip.size(-1)}});
  if (!t5) t5 = zeros({text_3_.length(), c.context_width});
  out.put("prompt_embeds", t2i::cat({clip, t5}, 1));
  out.put("pooled", t2i::cat({first.pooled, second.pooled}, -1));
}

}  // namespace sd3
