#include "autoencoder_kl.hpp"

#include "config_reader.hpp"
#include "unet_config.hpp"

namespace t2i {
namespace {

constexpr double eps = 1e-6;  // no configuration key sets it

ResnetOptions resnet_options(const AutoencoderConfig& c) { return {c.groups, eps, c.activation, 0, false, 1}; }

std::vector<ResnetBlock2D> resnets(const Scope& s, int64_t count, int64_t in, int64_t out, const AutoencoderConfig& c) {
  std::vector<ResnetBlock2D> list;
  list.reserve(static_cast<size_t>(count));  // they are run by address
  for (int64_t i = 0; i < count; ++i)
    list.emplace_back(s.at("resnets." + std::to_string(i)), i == 0 ? in : out, out, resnet_options(c));
  return list;
}

}  // namespace

AutoencoderConfig read_autoencoder_config(const Json& json, const std::string& file) {
  ConfigReader r(json, file);
  AutoencoderConfig c;
  c.in_channels = r.integer("in_channels", 3);
  c.out_channels = r.integer("out_channels", 3);
  c.latent_channels = r.integer("latent_channels", 4);
  c.channels = r.integers("block_out_channels", Json::array({64}));
  c.layers = r.integer("layers_per_block", 1);
  c.activation = activation_of(r.choice("act_fn", "silu", activation_names));
  c.groups = r.integer("norm_num_groups", 32);
  for (int64_t width : c.channels)
    if (width % c.groups) r.problem("norm_num_groups", "it does not divide block_out_channels' " + std::to_string(width));
  auto levels = [&](const char* key, const std::string& kind) {
    if (r.choices(key, {kind}, {kind}).size() != c.channels.size())
      r.problem(key, "wanted one for each of the block_out_channels");
  };
  levels("down_block_types", "DownEncoderBlock2D");
  levels("up_block_types", "UpDecoderBlock2D");
  c.scaling_factor = r.number("scaling_factor", 0.18215);
  if (c.scaling_factor == 0) r.problem("scaling_factor", "latents cannot be divided by it");
  c.shift_factor = r.optional_number("shift_factor").value_or(0);
  c.quant_conv = r.flag("use_quant_conv", true);
  c.post_quant_conv = r.flag("use_post_quant_conv", true);
  c.mid_attention = r.flag("mid_block_add_attention", true);
  r.only("latents_mean", nullptr, {nullptr});
  r.only("latents_std", nullptr, {nullptr});
  c.needs_range = r.flag("force_upcast", false);
  r.harmless({"sample_size"});
  r.done();
  return c;
}

AutoencoderMid::AutoencoderMid(const Scope& s, const AutoencoderConfig& c) {
  int64_t width = c.channels.back();
  resnets = t2i::resnets(s, 2, width, width, c);
  if (c.mid_attention) attention.emplace(s.at("attentions.0"), width, width, c.groups, eps);
}

Tensor AutoencoderMid::operator()(const Tensor& x) const {
  Tensor h = resnets[0](x, {});
  if (attention) h = (*attention)(h);
  return resnets[1](h, {});
}

AutoencoderKL::AutoencoderKL(const Scope& s, const AutoencoderConfig& config) : config_(config) {
  const AutoencoderConfig& c = config_;
  size_t n = c.channels.size();
  int64_t z = c.latent_channels, finest = c.channels.front(), coarsest = c.channels.back();

  Scope e = s.at("encoder");
  encoder_in_ = Conv2d(e.at("conv_in"), c.in_channels, finest, 3, 1, 1);
  encoder_.resize(n);
  for (size_t i = 0; i < n; ++i) {
    Scope level = e.at("down_blocks." + std::to_string(i));
    encoder_[i].resnets = resnets(level, c.layers, i ? c.channels[i - 1] : finest, c.channels[i], c);
    if (i + 1 < n) encoder_[i].downsampler.emplace(level.at("downsamplers.0"), c.channels[i], 0);
  }
  encoder_mid_.emplace(e.at("mid_block"), c);
  encoder_norm_ = GroupNorm(e.at("conv_norm_out"), coarsest, c.groups, eps);
  encoder_out_ = Conv2d(e.at("conv_out"), coarsest, 2 * z, 3, 1, 1);
  if (c.quant_conv) quant_conv_.emplace(s.at("quant_conv"), 2 * z, 2 * z, 1);

  Scope d = s.at("decoder");
  if (c.post_quant_conv) post_quant_conv_.emplace(s.at("post_quant_conv"), z, z, 1);
  decoder_in_ = Conv2d(d.at("conv_in"), z, coarsest, 3, 1, 1);
  decoder_mid_.emplace(d.at("mid_block"), c);
  decoder_.resize(n);
  for (size_t i = 0; i < n; ++i) {
    Scope level = d.at("up_blocks." + std::to_string(i));
    int64_t out = c.channels[n - 1 - i];
    decoder_[i].resnets = resnets(level, c.layers + 1, i ? c.channels[n - i] : coarsest, out, c);
    if (i + 1 < n) decoder_[i].upsampler.emplace(level.at("upsamplers.0"), out);
  }
  decoder_norm_ = GroupNorm(d.at("conv_norm_out"), finest, c.groups, eps);
  decoder_out_ = Conv2d(d.at("conv_out"), finest, c.out_channels, 3, 1, 1);
}

AutoencoderKL::Posterior AutoencoderKL::encode(const Tensor& pixels) const {
  Tensor x = encoder_in_(pixels);
  for (const EncoderLevel& level : encoder_) {
    for (const ResnetBlock2D& block : level.resnets) x = block(x, {});
    if (level.downsampler) x = (*level.downsampler)(x);
  }
  x = (*encoder_mid_)(x);
  x = encoder_out_(encoder_norm_(x, Activation::silu));  // SiLU here, whatever act_fn says
  if (quant_conv_) x = (*quant_conv_)(x);
  auto [mean, logvar] = halves(x, 1);
  return {mean, clamp(logvar, -30.0, 20.0)};
}

Tensor AutoencoderKL::decode(const Tensor& latents) const {
  Tensor x = decoder_in_(post_quant_conv_ ? (*post_quant_conv_)(latents) : latents);
  x = (*decoder_mid_)(x);
  for (const DecoderLevel& level : decoder_) {
    for (const ResnetBlock2D& block : level.resnets) x = block(x, {});
    if (level.upsampler) x = (*level.upsampler)(x, 2 * x.size(2), 2 * x.size(3));
  }
  return decoder_out_(decoder_norm_(x, Activation::silu));
}

}  // namespace t2i
