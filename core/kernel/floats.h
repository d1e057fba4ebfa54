// Eight floats at a time, for the loops over plain floats. Included only by files that CMake compiles for AVX2, which use
// no function of the C++ library (why: winograd_tile.cpp); everything has internal linkage for the same reason.
#pragma once
#include <cstdint>

namespace t2i::rows {
namespace {

typedef float Floats __attribute__((vector_size(32)));
typedef int32_t Ints __attribute__((vector_size(32)));
typedef float FloatsInMemory __attribute__((vector_size(32), aligned(4), may_alias));
constexpr int64_t width = 8;

[[maybe_unused]] Floats all(float value) { return Floats{} + value; }

// `count` floats, all eight or the last of a row; what is missing is `rest`.
[[maybe_unused]] Floats load(const float* from, int64_t count, float rest = 0) {
  if (count == width) return *reinterpret_cast<const FloatsInMemory*>(from);
  Floats v = all(rest);
  for (int64_t k = 0; k < count; ++k) v[k] = from[k];
  return v;
}

[[maybe_unused]] void store(float* to, Floats v, int64_t count) {
  if (count == width) {
    *reinterpret_cast<FloatsInMemory*>(to) = v;
    return;
  }
  for (int64_t k = 0; k < count; ++k) to[k] = v[k];
}

[[maybe_unused]] double sum(Floats v) {
  double s = 0;
  for (int64_t k = 0; k < width; ++k) s += v[k];
  return s;
}

template <class Body>
void for_each_eight(int64_t n, Body body) {
  int64_t i = 0;
  for (; i + width <= n; i += width) body(i, width);
  if (i < n) body(i, n - i);
}

}  // namespace
}  // namespace t2i::rows
