#include "unet.hpp"

#include <algorithm>

namespace t2i {

Unet::Unet(const Scope& s, const UnetConfig& config) : config_(config) {
  const UnetConfig& u = config_;
  size_t n = u.down.size();
  int64_t finest = u.down.front().channels;
  conv_in_ = Conv2d(s.at("conv_in"), u.in_channels, finest, u.conv_in_kernel, 1, (u.conv_in_kernel - 1) / 2);
  time_embedding_ = TimestepEmbedding(s.at("time_embedding"), finest, u.time_width, u.activation, u.time_after);
  if (u.text_width) text_projection_.emplace(s.at("encoder_hid_proj"), u.text_width, u.down.front().context_width);
  if (u.addition_time_width)
    add_embedding_.emplace(s.at("add_embedding"), u.addition_input_width, u.time_width, Activation::silu);

  down_.reserve(n), up_.reserve(n);
  int64_t in = finest;
  for (size_t i = 0; i < n; ++i) {
    down_.emplace_back(s.at("down_blocks." + std::to_string(i)), u, u.down[i], in, i + 1 == n);
    in = u.down[i].channels;
  }
  if (u.has_mid) mid_.emplace(s.at("mid_block"), u);
  for (size_t i = 0; i < n; ++i) {
    int64_t finer = u.up[std::min(i + 1, n - 1)].channels;
    up_.emplace_back(s.at("up_blocks." + std::to_string(i)), u, u.up[i], in, finer, i + 1 == n);
    in = u.up[i].channels;
  }
  conv_norm_out_ = GroupNorm(s.at("conv_norm_out"), finest, u.groups, u.eps);
  conv_out_ = Conv2d(s.at("conv_out"), finest, u.out_channels, u.conv_out_kernel, 1, (u.conv_out_kernel - 1) / 2);
}

Tensor Unet::time_embedding_of(const UnetInputs& in) const {
  const UnetConfig& u = config_;
  int32_t dtype = in.latents.dtype();
  Tensor waves = sinusoids(in.timesteps, u.down.front().channels, u.cosine_first, u.frequency_shift);
  Tensor emb = time_embedding_(to(waves, dtype));
  if (add_embedding_) {
    if (!in.pooled || !in.time_ids) fail("this UNet needs 'pooled' and 'time_ids' (addition_embed_type)", T2I_E_MISSING);
    Tensor sizes = sinusoids(flatten(in.time_ids, 0), u.addition_time_width, u.cosine_first, u.frequency_shift);
    sizes = reshape(sizes, {in.pooled.size(0), -1});
    emb = emb + (*add_embedding_)(to(cat({to(in.pooled, T2I_F32), sizes}, -1), dtype));
  }
  if (u.time_sum_activation) emb = activate(*u.time_sum_activation, emb);
  return activate(u.activation, emb);  // as every residual block begins with it
}

Tensor Unet::operator()(const UnetInputs& in) const {
  const UnetConfig& u = config_;
  auto must = [](const char* what, int64_t got, int64_t wanted, const char* key) {
    if (got != wanted)
      fail(std::string(what) + " has " + std::to_string(got) + " channels, the UNet's " + key + " is " +
           std::to_string(wanted));
  };
  must("its input", in.latents.size(1), u.in_channels, "in_channels");
  must("prompt_embeds", in.context.size(-1), u.text_input(), u.text_key());
  UnetConditions c{time_embedding_of(in), text_projection_ ? (*text_projection_)(in.context) : in.context};
  Tensor x = conv_in_(u.center_input ? in.latents * 2.0 - 1.0 : in.latents);
  std::vector<Tensor> skips{x};
  for (const UnetDown& level : down_) x = level(x, c, skips);
  if (mid_) x = (*mid_)(x, c);
  for (const UnetUp& level : up_) x = level(x, c, skips);
  return conv_out_(conv_norm_out_(x, u.activation));
}

}  // namespace t2i
