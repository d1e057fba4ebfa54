#include "resnet.hpp"

namespace t2i {

ResnetBlock2D::ResnetBlock2D(const Scope& s, int64_t in, int64_t out, const ResnetOptions& o)
    : scope(s), name(path_of(s)), options(o), norm1(s.at("norm1"), in, o.groups, o.eps),
      norm2(s.at("norm2"), out, o.groups, o.eps), conv1(s.at("conv1"), in, out, 3, 1, 1),
      conv2(s.at("conv2"), out, out, 3, 1, 1) {
  if (o.time_width) time_emb_proj.emplace(s.at("time_emb_proj"), o.time_width, o.scale_and_shift ? 2 * out : out);
  if (in != out) conv_shortcut.emplace(s.at("conv_shortcut"), in, out, 1);
}

Tensor ResnetBlock2D::body(const Tensor& x, const Tensor& time) const {
  Tensor h = conv1(norm1(x, options.activation));
  Tensor t = time_emb_proj ? unsqueeze(unsqueeze((*time_emb_proj)(time), -1), -1) : Tensor();
  if (t && options.scale_and_shift) {
    auto [scale, shift] = halves(t, 1);
    h = activate(options.activation, norm2(h) * (scale + 1.0) + shift);
  } else {
    h = norm2(t ? h + t : h, options.activation);
  }
  Tensor kept = conv_shortcut ? (*conv_shortcut)(x) : x;  // before the larger convolution, which then is the block's last layer
  h = kept + conv2(h);
  return options.output_scale == 1 ? h : h / options.output_scale;
}

Tensor ResnetBlock2D::operator()(const Tensor& x, const Tensor& time, const Tensor& skip) const {
  // The skip is joined inside: when the block is recomputed, the joined copy need not be kept.
  if (time && skip)
    return run_block(scope, name.c_str(), {x, time, skip}, [this](std::span<const Tensor> in) {
      return body(cat({in[0], in[2]}, 1), in[1]);
    });
  if (time)
    return run_block(scope, name.c_str(), {x, time}, [this](std::span<const Tensor> in) { return body(in[0], in[1]); });
  return run_block(scope, name.c_str(), {x}, [this](std::span<const Tensor> in) { return body(in[0], {}); });
}

SpatialAttention::SpatialAttention(const Scope& s, int64_t channels, int64_t head_width, int64_t groups, double eps,
                                   double output_scale_)
    : scope(s), name(path_of(s)), group_norm(s.at("group_norm"), channels, groups, eps), heads(channels / head_width),
      output_scale(output_scale_) {
  int64_t inner = heads * head_width;
  to_q = Linear(s.at("to_q"), channels, inner);
  to_k = Linear(s.at("to_k"), channels, inner);
  to_v = Linear(s.at("to_v"), channels, inner);
  to_out = Linear(s.at("to_out.0"), inner, channels);
}

Tensor SpatialAttention::operator()(const Tensor& x) const {
  return run_block(scope, name.c_str(), {x}, [this](std::span<const Tensor> in) {
    const Tensor& image = in[0];
    Tensor y = pixels_to_sequence(group_norm(image));
    y = to_out(attention(to_q(y), to_k(y), to_v(y), heads));
    y = sequence_to_pixels(y, image.size(2), image.size(3)) + image;
    return output_scale == 1 ? y : y / output_scale;
  });
}

}  // namespace t2i
