// Counter-based randomness: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3",
// SC11). A draw is a pure function of (seed, step, sample, stream, element), so a kill, the number of loader threads or
// a change of world size cannot change what is trained. Host and device compile this same text; it uses only + - * /
// and sqrt (exactly rounded everywhere) and is compiled without contraction to FMA, so CPU and GPU give the same bits.
#pragma once
#include <cstdint>
#ifdef __CUDACC__
#define T2I_HOST_DEVICE __host__ __device__
#else
#define T2I_HOST_DEVICE
#include <cmath>
#endif

namespace t2i {

// Who draws. `stream` separates noise from timesteps from flips; see stream_id() in rng.h.
struct DrawKey {
  uint64_t seed = 0, step = 0, sample = 0;
  uint32_t stream = 0;
};

struct Philox4 {
  uint32_t v[4];
};

// The four words of block `block` of a key (elements 4·block … 4·block+3).
T2I_HOST_DEVICE inline Philox4 philox(const DrawKey& key, uint32_t block) {
  uint32_t c0 = block, c1 = static_cast<uint32_t>(key.sample), c2 = static_cast<uint32_t>(key.step), c3 = key.stream;
  uint32_t k0 = static_cast<uint32_t>(key.seed) ^ (static_cast<uint32_t>(key.sample >> 32) * 0x85ebca6bu);
  uint32_t k1 = static_cast<uint32_t>(key.seed >> 32) ^ (static_cast<uint32_t>(key.step >> 32) * 0xc2b2ae35u);
  for (int round = 0; round < 10; ++round) {
    uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
    uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0, n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1), c3 = static_cast<uint32_t>(p0), c0 = n0, c2 = n2;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// 24 random bits as a float in [0, 1).
T2I_HOST_DEVICE inline float philox_unit(uint32_t word) { return static_cast<float>(word >> 8) * 5.9604644775390625e-8f; }

// ln(u) for u in (0, 1], by the atanh series on [1/sqrt 2, sqrt 2): |error| < 2e-7, enough for a float.
T2I_HOST_DEVICE inline float philox_log(float u) {
  union {
    float f;
    uint32_t i;
  } bits{u};
  int exponent = static_cast<int>(bits.i >> 23) - 127;
  bits.i = (bits.i & 0x7fffffu) | 0x3f800000u;
  if (bits.f > 1.41421356f) bits.f *= 0.5f, ++exponent;
  float s = (bits.f - 1.0f) / (bits.f + 1.0f), z = s * s;
  float series = 2.0f * s * (1.0f + z * (0.33333333f + z * (0.2f + z * (0.14285714f + z * 0.11111111f))));
  return series + static_cast<float>(exponent) * 0.69314718f;
}

// Two standard normals from two words (Box and Muller 1958). The angle is reduced exactly: 4v = quadrant + fraction.
T2I_HOST_DEVICE inline void philox_normals(uint32_t a, uint32_t b, float out[2]) {
  float u = (static_cast<float>(a >> 8) + 1.0f) * 5.9604644775390625e-8f;  // (0, 1]: ln is finite
  float radius = sqrtf(-2.0f * philox_log(u));
  float turns4 = philox_unit(b) * 4.0f;
  int quadrant = static_cast<int>(turns4 + 0.5f);
  float x = (turns4 - static_cast<float>(quadrant)) * 1.57079633f, z = x * x;
  float sine = x * (1.0f + z * (-0.16666667f + z * (8.3333333e-3f + z * (-1.9841270e-4f + z * 2.7557319e-6f))));
  float cosine = 1.0f + z * (-0.5f + z * (4.1666667e-2f + z * (-1.3888889e-3f + z * (2.4801587e-5f - z * 2.7557319e-7f))));
  float s = (quadrant & 1) ? cosine : sine, c = (quadrant & 1) ? sine : cosine;
  if (quadrant == 1 || quadrant == 2) c = -c;
  if (quadrant == 2 || quadrant == 3) s = -s;
  out[0] = radius * c;
  out[1] = radius * s;
}

}  // namespace t2i
