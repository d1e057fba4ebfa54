#include "core/generate/noise.h"

#include "core/kernel/draw.h"

namespace t2i {

namespace {

// [n,3] int64: seed, step, sample; see core/base/philox.h.
at::Tensor keys(std::span<const uint64_t> seeds, int64_t step, at::Device device) {
  at::Tensor rng = at::zeros({static_cast<int64_t>(seeds.size()), 3}, at::kLong);
  for (size_t i = 0; i < seeds.size(); ++i) {
    rng[static_cast<int64_t>(i)][0] = static_cast<int64_t>(seeds[i]);
    rng[static_cast<int64_t>(i)][1] = step;
  }
  return rng.to(device);
}

}  // namespace

at::Tensor initial_noise(std::span<const uint64_t> seeds, at::IntArrayRef per_picture, at::Device device) {
  return draw_normal(keys(seeds, 0, device), "initial_noise", per_picture);
}

NoiseSource sampler_noise(std::span<const uint64_t> seeds, at::IntArrayRef per_picture, at::Device device) {
  return [seeds = std::vector<uint64_t>(seeds.begin(), seeds.end()), shape = per_picture.vec(), device](int64_t i) {
    return draw_normal(keys(seeds, i, device), "sampler_noise", shape);
  };
}

}  // namespace t2i
