// The autoencoder between pixels and latents: diffusers' AutoencoderKL.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "resnet.hpp"

namespace t2i {

struct AutoencoderConfig {
  int64_t in_channels = 3, out_channels = 3, latent_channels = 4;
  std::vector<int64_t> channels;  // finest first
  int64_t layers = 1;             // residual blocks a level on the way down; one more on the way up
  Activation activation = Activation::silu;
  int64_t groups = 32;
  bool quant_conv = true, post_quant_conv = true, mid_attention = true;
  double scaling_factor = 0.18215, shift_factor = 0;
  bool needs_range = false;  // "force_upcast": its activations exceed what float16 can hold

  // Pixels along one side of a latent.
  int64_t downscale() const { return int64_t{1} << (channels.size() - 1); }
};
// Throws t2i::Error with every problem, each naming `file`, key and value.
AutoencoderConfig read_autoencoder_config(const Json& json, const std::string& file);

// Two residual blocks with attention of one head between.
struct AutoencoderMid {
  std::vector<ResnetBlock2D> resnets;
  std::optional<SpatialAttention> attention;
  AutoencoderMid(const Scope& s, const AutoencoderConfig& c);
  Tensor operator()(const Tensor& x) const;
};

struct EncoderLevel {
  std::vector<ResnetBlock2D> resnets;
  std::optional<Downsample2D> downsampler;
};
struct DecoderLevel {
  std::vector<ResnetBlock2D> resnets;
  std::optional<Upsample2D> upsampler;
};

// Is run by address (blocks are recomputed through pointers into it): neither moved nor copied.
class AutoencoderKL {
 public:
  AutoencoderKL(const Scope& s, const AutoencoderConfig& config);
  AutoencoderKL(const AutoencoderKL&) = delete;

  struct Posterior {
    Tensor mean, logvar;  // [B,latent_channels,h,w], unscaled; logvar held within -30...20 as diffusers does
  };
  Posterior encode(const Tensor& pixels) const;  // [B,3,H,W] in -1...1
  Tensor decode(const Tensor& latents) const;    // unscaled latents -> pixels, not clamped

 private:
  AutoencoderConfig config_;
  Conv2d encoder_in_, encoder_out_, decoder_in_, decoder_out_;
  std::optional<Conv2d> quant_conv_, post_quant_conv_;
  std::vector<EncoderLevel> encoder_;
  std::vector<DecoderLevel> decoder_;
  std::optional<AutoencoderMid> encoder_mid_, decoder_mid_;
  GroupNorm encoder_norm_, decoder_norm_;
};

// An autoencoder's sample as the denoiser works on it, and back.
inline Tensor scale_latents(const Tensor& z, const AutoencoderConfig& c) {
  return (c.shift_factor == 0 ? z : z - c.shift_factor) * c.scaling_factor;
}
inline Tensor unscale_latents(const Tensor& z, const AutoencoderConfig& c) {
  Tensor y = z / c.scaling_factor;
  return c.shift_factor == 0 ? y : y + c.shift_factor;
}

}  // namespace t2i
