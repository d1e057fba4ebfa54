#include "unet_blocks.hpp"

namespace t2i {
namespace {

ResnetOptions resnet_options(const UnetConfig& u, double output_scale = 1) {
  return {u.groups, u.eps, u.activation, u.time_width, u.scale_and_shift, output_scale};
}
TransformerOptions transformer_options(const UnetConfig& u, const UnetLevel& level, int64_t layers) {
  return {level.heads, layers, level.context_width, u.groups, u.linear_projection, level.only_cross_attention};
}

}  // namespace

UnetStage::UnetStage(const Scope& s, const UnetConfig& u, const UnetLevel& level, const std::vector<int64_t>& inputs) {
  size_t n = inputs.size();
  resnets.reserve(n), transformers.reserve(n), attentions.reserve(n);  // they are run by address
  for (size_t i = 0; i < n; ++i) {
    Scope attention = s.at("attentions." + std::to_string(i));
    resnets.emplace_back(s.at("resnets." + std::to_string(i)), inputs[i], level.channels, resnet_options(u));
    if (level.kind == UnetBlock::cross_attention)
      transformers.emplace_back(attention, level.channels, transformer_options(u, level, level.transformer_layers[i]));
    if (level.kind == UnetBlock::self_attention)
      attentions.emplace_back(attention, level.channels, level.heads, u.groups, u.eps);
  }
}

Tensor UnetStage::layer(size_t i, const Tensor& x, const UnetConditions& c, const Tensor& skip) const {
  Tensor h = resnets[i](x, c.time, skip);
  if (!transformers.empty()) h = transformers[i](h, c.context);
  if (!attentions.empty()) h = attentions[i](h);
  return h;
}

UnetDown::UnetDown(const Scope& s, const UnetConfig& u, const UnetLevel& level, int64_t in, bool last)
    : stage(s, u, level, [&] {
        std::vector<int64_t> inputs(static_cast<size_t>(level.layers), level.channels);
        inputs[0] = in;
        return inputs;
      }()) {
  if (!last) downsampler.emplace(s.at("downsamplers.0"), level.channels, u.downsample_padding);
}

Tensor UnetDown::operator()(Tensor x, const UnetConditions& c, std::vector<Tensor>& skips) const {
  for (size_t i = 0; i < stage.resnets.size(); ++i) skips.push_back(x = stage.layer(i, x, c));
  if (downsampler) skips.push_back(x = (*downsampler)(x));
  return x;
}

UnetMid::UnetMid(const Scope& s, const UnetConfig& u) {
  const UnetLevel& level = u.down.back();
  resnets.reserve(2);
  resnets.emplace_back(s.at("resnets.0"), level.channels, level.channels, resnet_options(u, u.mid_scale));
  if (!u.mid_attention) return;
  TransformerOptions o = transformer_options(u, level, u.mid_transformer_layers[0]);
  o.only_cross_attention = false;
  attention.emplace(s.at("attentions.0"), level.channels, o);
  resnets.emplace_back(s.at("resnets.1"), level.channels, level.channels, resnet_options(u, u.mid_scale));
}

Tensor UnetMid::operator()(Tensor x, const UnetConditions& c) const {
  x = resnets[0](x, c.time);
  if (!attention) return x;
  return resnets[1]((*attention)(x, c.context), c.time);
}

UnetUp::UnetUp(const Scope& s, const UnetConfig& u, const UnetLevel& level, int64_t previous, int64_t skip, bool last)
    : stage(s, u, level, [&] {
        std::vector<int64_t> inputs(static_cast<size_t>(level.layers + 1), 2 * level.channels);
        inputs.front() = previous + level.channels;
        inputs.back() = level.channels + skip;
        return inputs;
      }()) {
  if (!last) upsampler.emplace(s.at("upsamplers.0"), level.channels);
}

Tensor UnetUp::operator()(Tensor x, const UnetConditions& c, std::vector<Tensor>& skips) const {
  for (size_t i = 0; i < stage.resnets.size(); ++i) {
    x = stage.layer(i, x, c, skips.back());
    skips.pop_back();
  }
  // To the next skip's size: twice this one's, or one less where the image did not divide on the way down.
  if (upsampler) x = (*upsampler)(x, skips.back().size(2), skips.back().size(3));
  return x;
}

}  // namespace t2i
