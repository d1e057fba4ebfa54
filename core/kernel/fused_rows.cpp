#include "core/kernel/fused_rows.h"

#include "core/kernel/floats.h"

namespace t2i::rows {
namespace {

// e^x = 2^k e^r, k the integer nearest to x / ln 2, |r| < 0.35: Taylor's series to r^7 is within 1e-8. Beyond +-87 it
// stays there: near float's ends.
Floats exp(Floats x) {
  x = x < 87.0f ? x : all(87.0f);
  x = x > -87.0f ? x : all(-87.0f);
  const float to_integer = 12582912.0f;  // 1.5 * 2^23: a sum with it has no room for a fraction
  Floats shifted = x * 1.44269504f + to_integer, k = shifted - to_integer;
  Floats r = x - k * 0.693359375f + k * 2.12194440e-4f;  // ln 2 in two parts, the first exact times k
  constexpr float factors[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
  Floats series{};
  for (float factor : factors) series = series * r + factor;
  Ints power = (reinterpret_cast<Ints>(shifted) << 23) + (127 << 23);  // k is in the lowest bits of `shifted`
  return series * reinterpret_cast<Floats>(power);
}

Floats sigmoid(Floats x) { return 1.0f / (1.0f + exp(-x)); }

// The normal distribution's cumulative function, and its density without the factor 1 / sqrt(2 pi): erf by Abramowitz &
// Stegun 7.1.26, within 1.5e-7.
Floats normal_cdf(Floats x, Floats& bell) {
  Floats u = (x < 0 ? -x : x) * 0.707106781f, t = 1.0f / (1.0f + 0.3275911f * u);
  bell = exp(-u * u);
  Floats tail = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  tail = 0.5f * tail * bell;
  return x < 0 ? tail : 1.0f - tail;
}

}  // namespace

void group_norm_silu(const Group& group, float eps, const float* x, float* y, float* mean, float* rstd) {
  const double count = static_cast<double>(group.channels * group.each);
  double total = 0, squares = 0;
  for (int64_t c = 0; c < group.channels; ++c) {
    Floats s{};
    for_each_eight(group.each, [&](int64_t i, int64_t n) { s += load(x + c * group.each + i, n); });
    total += sum(s);
  }
  const float middle = static_cast<float>(total / count);
  for (int64_t c = 0; c < group.channels; ++c) {
    Floats s{};
    for_each_eight(group.each, [&](int64_t i, int64_t n) {
      Floats off = load(x + c * group.each + i, n, middle) - middle;
      s += off * off;
    });
    squares += sum(s);
  }
  *mean = middle;
  *rstd = static_cast<float>(1.0 / __builtin_sqrt(squares / count + static_cast<double>(eps)));
  for (int64_t c = 0; c < group.channels; ++c) {
    const float a = *rstd * (group.weight ? group.weight[c] : 1.0f);
    const float shift = (group.bias ? group.bias[c] : 0.0f) - middle * a;
    for_each_eight(group.each, [&](int64_t i, int64_t n) {
      Floats z = load(x + c * group.each + i, n) * a + shift;
      store(y + c * group.each + i, z * sigmoid(z), n);
    });
  }
}

// With z = x_hat w + b and g the gradient of z: grad w = sum g x_hat, grad b = sum g, and
// grad x = rstd (w g - mean(w g) - x_hat mean(w g x_hat)), means over the group (Wu & He 2018, arXiv:1803.08494, §3.1,
// differentiated).
void group_norm_silu_backward(const Group& group, const float* x, float mean, float rstd, const float* grad_y,
                              float* grad_x, float* grad_weight, float* grad_bias) {
  double mean_g = 0, mean_gx = 0;
  for (int64_t c = 0; c < group.channels; ++c) {
    const float w = group.weight ? group.weight[c] : 1.0f, a = rstd * w;
    const float shift = (group.bias ? group.bias[c] : 0.0f) - mean * a;
    const float *from = x + c * group.each, *grad = grad_y + c * group.each;
    float* to = grad_x + c * group.each;
    Floats sum_g{}, sum_gx{};
    for_each_eight(group.each, [&](int64_t i, int64_t n) {
      Floats at = load(from + i, n, mean), z = at * a + shift, s = sigmoid(z);
      Floats g = load(grad + i, n) * s * (1.0f + z * (1.0f - s));
      sum_g += g;
      sum_gx += g * (at - mean);
      store(to + i, g, n);
    });
    const double g = sum(sum_g), gx = sum(sum_gx) * static_cast<double>(rstd);
    if (grad_weight) grad_weight[c] = static_cast<float>(gx);
    if (grad_bias) grad_bias[c] = static_cast<float>(g);
    mean_g += static_cast<double>(w) * g, mean_gx += static_cast<double>(w) * gx;
  }
  const double count = static_cast<double>(group.channels * group.each);
  const float of_x = static_cast<float>(-rstd * rstd * mean_gx / count);
  const float constant = static_cast<float>(-rstd * mean_g / count) - mean * of_x;
  for (int64_t c = 0; c < group.channels; ++c) {
    const float a = rstd * (group.weight ? group.weight[c] : 1.0f);
    const float* from = x + c * group.each;
    float* to = grad_x + c * group.each;
    for_each_eight(group.each, [&](int64_t i, int64_t n) {
      store(to + i, load(to + i, n) * a + (load(from + i, n) * of_x + constant), n);
    });
  }
}

void geglu(int64_t n, const float* a, const float* b, float* y) {
  for_each_eight(n, [&](int64_t i, int64_t count) {
    Floats gate = load(b + i, count), bell;
    store(y + i, load(a + i, count) * gate * normal_cdf(gate, bell), count);
  });
}

void geglu_backward(int64_t n, const float* a, const float* b, const float* grad_y, float* grad_a, float* grad_b) {
  for_each_eight(n, [&](int64_t i, int64_t count) {
    Floats gate = load(b + i, count), g = load(grad_y + i, count), bell, below = normal_cdf(gate, bell);
    Floats value = load(a + i, count);
    store(grad_a + i, g * gate * below, count);
    store(grad_b + i, g * value * (below + gate * bell * 0.398942280f), count);  // 1 / sqrt(2 pi)
  });
}

}  // namespace t2i::rows
