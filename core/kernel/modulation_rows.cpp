#include "core/kernel/modulation_rows.h"

#include "core/kernel/floats.h"

namespace t2i::rows {
namespace {

template <class Body>  // double(Floats at i): the sum over a row of what the body makes of it
double sum_over(int64_t n, Body body) {
  Floats s{};
  for_each_eight(n, [&](int64_t i, int64_t count) { s += body(i, count); });
  return sum(s);
}

void zero(float* to, int64_t n) {
  for_each_eight(n, [&](int64_t i, int64_t count) { store(to + i, Floats{}, count); });
}

float reciprocal_root(double mean_square, float eps) { return static_cast<float>(1.0 / __builtin_sqrt(mean_square + static_cast<double>(eps))); }

}  // namespace

void ada_layer_norm(Rows rows, float eps, const float* x, const float* scale, const float* shift, float* y, float* mean, float* rstd) {
  const int64_t w = rows.width;
  for (int64_t row = 0; row < rows.count; ++row, x += w, y += w) {
    const float middle = static_cast<float>(sum_over(w, [&](int64_t i, int64_t n) { return load(x + i, n); }) / static_cast<double>(w));
    const double squares = sum_over(w, [&](int64_t i, int64_t n) {
      Floats off = load(x + i, n, middle) - middle;
      return off * off;
    });
    mean[row] = middle, rstd[row] = reciprocal_root(squares / static_cast<double>(w), eps);
    for_each_eight(w, [&](int64_t i, int64_t n) {
      store(y + i, (load(x + i, n) - middle) * rstd[row] * (1.0f + load(scale + i, n)) + load(shift + i, n), n);
    });
  }
}

// With x_hat the normed row and h = (1 + scale) g: grad scale = sum of g x_hat, grad shift = sum of g over the rows, and
// grad x = rstd (h - mean(h) - x_hat mean(h x_hat)), means over the row (Ba et al. 2016, arXiv:1607.06450, differentiated).
void ada_layer_norm_backward(Rows rows, const float* x, const float* scale, const float* mean, const float* rstd, const float* grad_y, float* grad_x,
                             float* grad_scale, float* grad_shift) {
  const int64_t w = rows.width;
  zero(grad_scale, w), zero(grad_shift, w);
  for (int64_t row = 0; row < rows.count; ++row, x += w, grad_y += w, grad_x += w) {
    const float middle = mean[row], r = rstd[row];
    Floats sum_h{}, sum_hx{};
    for_each_eight(w, [&](int64_t i, int64_t n) {
      Floats g = load(grad_y + i, n), x_hat = (load(x + i, n, middle) - middle) * r, h = g * (1.0f + load(scale + i, n));
      sum_h += h, sum_hx += h * x_hat;
      store(grad_scale + i, load(grad_scale + i, n) + g * x_hat, n);
      store(grad_shift + i, load(grad_shift + i, n) + g, n);
      store(grad_x + i, h, n);
    });
    const float mean_h = static_cast<float>(sum(sum_h) / static_cast<double>(w)), mean_hx = static_cast<float>(sum(sum_hx) / static_cast<double>(w));
    for_each_eight(w, [&](int64_t i, int64_t n) {
      Floats x_hat = (load(x + i, n) - middle) * r;
      store(grad_x + i, r * (load(grad_x + i, n) - mean_h - x_hat * mean_hx), n);
    });
  }
}

void gated_add(Rows rows, const float* x, const float* gate, const float* z, float* y) {
  const int64_t w = rows.width;
  for (int64_t row = 0; row < rows.count; ++row, x += w, z += w, y += w)
    for_each_eight(w, [&](int64_t i, int64_t n) { store(y + i, load(x + i, n) + load(gate + i, n) * load(z + i, n), n); });
}

void gated_add_backward(Rows rows, const float* gate, const float* z, const float* grad_y, float* grad_z, float* grad_gate) {
  const int64_t w = rows.width;
  zero(grad_gate, w);
  for (int64_t row = 0; row < rows.count; ++row, z += w, grad_y += w, grad_z += w)
    for_each_eight(w, [&](int64_t i, int64_t n) {
      Floats g = load(grad_y + i, n);
      store(grad_gate + i, load(grad_gate + i, n) + g * load(z + i, n), n);
      store(grad_z + i, g * load(gate + i, n), n);
    });
}

void rms_norm(Rows rows, float eps, const float* x, const float* weight, float* y, float* rstd) {
  const int64_t w = rows.width;
  for (int64_t row = 0; row < rows.count; ++row, x += w, y += w) {
    const double squares = sum_over(w, [&](int64_t i, int64_t n) {
      Floats v = load(x + i, n);
      return v * v;
    });
    const float r = rstd[row] = reciprocal_root(squares / static_cast<double>(w), eps);
    for_each_eight(w, [&](int64_t i, int64_t n) { store(y + i, load(x + i, n) * r * load(weight + i, n), n); });
  }
}

// With x_hat = x rstd and h = weight g: grad weight = sum of g x_hat, grad x = rstd (h - x_hat mean(h x_hat)).
void rms_norm_backward(Rows rows, const float* x, const float* weight, const float* rstd, const float* grad_y, float* grad_x, float* grad_weight) {
  const int64_t w = rows.width;
  zero(grad_weight, w);
  for (int64_t row = 0; row < rows.count; ++row, x += w, grad_y += w, grad_x += w) {
    const float r = rstd[row];
    const double hx = sum_over(w, [&](int64_t i, int64_t n) {
      Floats gx = load(grad_y + i, n) * load(x + i, n) * r;
      store(grad_weight + i, load(grad_weight + i, n) + gx, n);
      return gx * load(weight + i, n);
    });
    const float mean_hx = static_cast<float>(hx / static_cast<double>(w));
    for_each_eight(w, [&](int64_t i, int64_t n) {
      store(grad_x + i, r * (load(grad_y + i, n) * load(weight + i, n) - load(x + i, n) * r * mean_hx), n);
    });
  }
}

}  // namespace t2i::rows
