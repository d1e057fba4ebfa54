// How a denoiser is told the time: sinusoids of the timestep (Ho et al. 2020), then a small network.
#pragma once
#include <t2i/functions.hpp>

#include <optional>

namespace t2i {

// timesteps [B] (0...1000, may lie between) -> [B, width] float32. frequencies 10000^(-i / (width/2 - shift));
// `cosine_first` is what configurations call flip_sin_to_cos.
inline Tensor sinusoids(const Tensor& timesteps, int64_t width, bool cosine_first, double shift) {
  int64_t half = width / 2;
  Tensor frequencies = exp(range(half, timesteps) * -std::log(10000.0) / (static_cast<double>(half) - shift));
  Tensor angles = unsqueeze(to(timesteps, T2I_F32), 1) * unsqueeze(frequencies, 0);
  Tensor s = sin(angles), c = cos(angles);
  Tensor x = cosine_first ? cat({c, s}, -1) : cat({s, c}, -1);
  return width % 2 ? op<"constant_pad_nd">({x, {0, 1}}) : x;
}

struct TimestepEmbedding {
  Linear linear_1, linear_2;
  Activation activation = Activation::silu;
  std::optional<Activation> after;
  TimestepEmbedding() = default;
  TimestepEmbedding(const Scope& s, int64_t in, int64_t width, Activation a, std::optional<Activation> after_ = {})
      : linear_1(s.at("linear_1"), in, width), linear_2(s.at("linear_2"), width, width), activation(a), after(after_) {}
  Tensor operator()(const Tensor& x) const {
    Tensor y = linear_2(activate(activation, linear_1(x)));
    return after ? activate(*after, y) : y;
  }
};

}  // namespace t2i
