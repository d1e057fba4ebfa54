// Winograd's F(m,3) in one dimension: how m outputs come of m + 2 inputs and three weights by m + 2 multiplications,
// y = A^T ((G g) * (B^T d)), and the transposes of the three maps (Lavin & Gray 2015, arXiv:1509.09308, §4.1 and §4.3).
#pragma once

namespace t2i::winograd {

struct F2 {  // interpolated at 0, 1, -1, infinity
  static constexpr int m = 2, n = 4;
  static void in(const float* d, float* v) {  // B^T
    v[0] = d[0] - d[2], v[1] = d[1] + d[2], v[2] = d[2] - d[1], v[3] = d[1] - d[3];
  }
  static void in_transposed(const float* v, float* d) {  // B
    d[0] = v[0], d[1] = v[1] - v[2] + v[3], d[2] = v[1] + v[2] - v[0], d[3] = -v[3];
  }
  static void out(const float* t, float* y) {  // A^T
    y[0] = t[0] + t[1] + t[2], y[1] = t[1] - t[2] - t[3];
  }
  static void out_transposed(const float* y, float* t) {  // A
    t[0] = y[0], t[1] = y[0] + y[1], t[2] = y[0] - y[1], t[3] = -y[1];
  }
  static void kernel(const float* g, float* u) {  // G
    const float sum = 0.5f * (g[0] + g[2]), half = 0.5f * g[1];
    u[0] = g[0], u[1] = sum + half, u[2] = sum - half, u[3] = g[2];
  }
  static void kernel_transposed(const float* u, float* g) {  // G^T
    const float sum = 0.5f * (u[1] + u[2]);
    g[0] = u[0] + sum, g[1] = 0.5f * (u[1] - u[2]), g[2] = sum + u[3];
  }
};

struct F4 {  // interpolated at 0, 1, -1, 2, -2, infinity
  static constexpr int m = 4, n = 6;
  static void in(const float* d, float* v) {
    const float a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], c = d[4] - d[2], e = 2 * (d[3] - d[1]);
    v[0] = 4 * d[0] - 5 * d[2] + d[4], v[1] = a + b, v[2] = a - b, v[3] = c + e, v[4] = c - e;
    v[5] = 4 * d[1] - 5 * d[3] + d[5];
  }
  static void in_transposed(const float* v, float* d) {
    const float s1 = v[1] + v[2], d1 = v[1] - v[2], s2 = v[3] + v[4], d2 = 2 * (v[3] - v[4]);
    d[0] = 4 * v[0], d[1] = 4 * v[5] - 4 * d1 - d2, d[2] = -5 * v[0] - 4 * s1 - s2;
    d[3] = d1 + d2 - 5 * v[5], d[4] = v[0] + s1 + s2, d[5] = v[5];
  }
  static void out(const float* t, float* y) {
    const float s1 = t[1] + t[2], d1 = t[1] - t[2], s2 = t[3] + t[4], d2 = t[3] - t[4];
    y[0] = t[0] + s1 + s2, y[1] = d1 + 2 * d2, y[2] = s1 + 4 * s2, y[3] = d1 + 8 * d2 + t[5];
  }
  static void out_transposed(const float* y, float* t) {
    const float s1 = y[0] + y[2], d1 = y[1] + y[3], s2 = y[0] + 4 * y[2], d2 = 2 * y[1] + 8 * y[3];
    t[0] = y[0], t[1] = s1 + d1, t[2] = s1 - d1, t[3] = s2 + d2, t[4] = s2 - d2, t[5] = y[3];
  }
  static void kernel(const float* g, float* u) {
    const float s1 = (-1.0f / 6) * (g[0] + g[2]), d1 = (-1.0f / 6) * g[1];
    const float s2 = (1.0f / 24) * g[0] + (1.0f / 6) * g[2], d2 = (1.0f / 12) * g[1];
    u[0] = 0.25f * g[0], u[1] = s1 + d1, u[2] = s1 - d1, u[3] = s2 + d2, u[4] = s2 - d2, u[5] = g[2];
  }
  static void kernel_transposed(const float* u, float* g) {
    const float s1 = (-1.0f / 6) * (u[1] + u[2]), d1 = (-1.0f / 6) * (u[1] - u[2]), s2 = u[3] + u[4], d2 = u[3] - u[4];
    g[0] = 0.25f * u[0] + s1 + (1.0f / 24) * s2, g[1] = d1 + (1.0f / 12) * d2, g[2] = s1 + (1.0f / 6) * s2 + u[5];
  }
};

}  // namespace t2i::winograd
