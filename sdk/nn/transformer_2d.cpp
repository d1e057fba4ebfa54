#include "transformer_2d.hpp"

#include "resnet.hpp"

namespace t2i {

BasicTransformerBlock::BasicTransformerBlock(const Scope& s, int64_t width, const TransformerOptions& o)
    : scope(s), name(path_of(s)), norm1(s.at("norm1"), width, 1e-5), norm2(s.at("norm2"), width, 1e-5),
      norm3(s.at("norm3"), width, 1e-5),
      attn1(s.at("attn1"), width, o.only_cross_attention ? o.context_width : width, o.heads),
      attn2(s.at("attn2"), width, o.context_width, o.heads), ff(s.at("ff"), width),
      only_cross_attention(o.only_cross_attention) {}

Tensor BasicTransformerBlock::operator()(const Tensor& x, const Tensor& context) const {
  return run_block(scope, name.c_str(), {x, context}, [this](std::span<const Tensor> in) {
    Tensor h = in[0];
    const Tensor& text = in[1];
    h = attn1(norm1(h), only_cross_attention ? text : Tensor()) + h;
    h = attn2(norm2(h), text) + h;
    return ff(norm3(h)) + h;
  });
}

Transformer2D::Transformer2D(const Scope& s, int64_t channels, const TransformerOptions& o)
    : norm(s.at("norm"), channels, o.groups, 1e-6) {
  // Where the heads do not divide the channels, each head is rounded down and the inside is narrower.
  int64_t inner = o.heads * (channels / o.heads);
  if (o.linear_projection)
    linear_in.emplace(s.at("proj_in"), channels, inner);
  else
    conv_in.emplace(s.at("proj_in"), channels, inner, 1);
  blocks.reserve(static_cast<size_t>(o.layers));  // blocks are run by address
  for (int64_t i = 0; i < o.layers; ++i) blocks.emplace_back(s.at("transformer_blocks." + std::to_string(i)), inner, o);
  if (o.linear_projection)
    linear_out.emplace(s.at("proj_out"), inner, channels);
  else
    conv_out.emplace(s.at("proj_out"), inner, channels, 1);
}

Tensor Transformer2D::operator()(const Tensor& x, const Tensor& context) const {
  int64_t height = x.size(2), width = x.size(3);
  Tensor h = norm(x);
  h = linear_in ? (*linear_in)(pixels_to_sequence(h)) : pixels_to_sequence((*conv_in)(h));
  for (const BasicTransformerBlock& block : blocks) h = block(h, context);
  h = linear_out ? sequence_to_pixels((*linear_out)(h), height, width)
                 : (*conv_out)(sequence_to_pixels(h, height, width));
  return h + x;
}

}  // namespace t2i
