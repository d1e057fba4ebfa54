#include "core/generate/estimate.h"

#include <cmath>

namespace t2i {

NoiseLevel level_of_alpha_bar(float alpha_bar) { return {std::sqrt(alpha_bar), std::sqrt(1 - alpha_bar)}; }

NoiseLevel level_of_sigma(float sigma) {
  float alpha = 1 / std::sqrt(sigma * sigma + 1);
  return {alpha, sigma * alpha};
}

at::Tensor clean_part(Prediction meaning, const at::Tensor& output, const at::Tensor& x, NoiseLevel level) {
  auto [alpha, sigma] = level;
  switch (meaning) {
    case Prediction::noise: return (x - sigma * output) / alpha;
    case Prediction::clean: return output;
    case Prediction::velocity: {
      // A velocity is defined where alpha² + sigma² = 1: x is brought there first.
      float norm2 = alpha * alpha + sigma * sigma;
      return x * (alpha / norm2) - output * (sigma / std::sqrt(norm2));
    }
    case Prediction::flow: {
      float norm = alpha + sigma;
      return (x - sigma * output) / norm;
    }
  }
  return {};
}

at::Tensor noise_part(Prediction meaning, const at::Tensor& output, const at::Tensor& x, NoiseLevel level) {
  if (meaning == Prediction::noise) return output;
  auto [alpha, sigma] = level;
  if (meaning == Prediction::velocity) {
    // Not by way of x_0, which would divide by sigma.
    float norm2 = alpha * alpha + sigma * sigma;
    return output * (alpha / std::sqrt(norm2)) + x * (sigma / norm2);
  }
  if (meaning == Prediction::flow) return (x + alpha * output) / (alpha + sigma);
  return (x - alpha * output) / sigma;
}

}  // namespace t2i
