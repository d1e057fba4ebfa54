// Euler with ancestral noise (k-diffusion's sample_euler_ancestral): a step of the probability flow beyond the next
// level, and back up to it with fresh noise, as one step of DDPM would (Ho et al. 2020, in Karras et al.'s terms).
#include <algorithm>
#include <cmath>

#include "core/generate/euler.h"
#include "core/generate/sampler.h"
#include "core/generate/spacing.h"

namespace t2i {

namespace {

struct AncestralSplit {
  float down, up;  // down² + up² = sigma_next²
};

AncestralSplit ancestral_split(float sigma, float sigma_next) {
  float from2 = sigma * sigma, to2 = sigma_next * sigma_next;
  float up = std::sqrt(to2 * (from2 - to2) / from2);
  return {std::sqrt(to2 - up * up), up};
}

class EulerAncestral final : public Sampler {
 public:
  EulerAncestral(SchedulerFile& file, const SamplerOptions& options) {
    ScheduleDefaults defaults;
    defaults.spacing = Spacing::linspace;
    defaults.zero_snr_floor = true;
    defaults.predictions = {"epsilon", "v_prediction"};
    NoiseSchedule schedule = read_noise_schedule(file, defaults);
    file.check();
    prediction_ = schedule.prediction;
    timesteps_ = spaced_timesteps(schedule, options.steps, true);
    std::vector<float> all = sigmas_of(schedule);
    for (double t : timesteps_) sigmas_.push_back(static_cast<float>(interpolate(all, t)));
    sigmas_.push_back(0);
    float highest = *std::ranges::max_element(sigmas_);
    init_noise_sigma_ = schedule.spacing == Spacing::leading ? std::sqrt(highest * highest + 1) : highest;
  }

  at::Tensor scale_input(const at::Tensor& x, int64_t i) const override {
    float sigma = sigmas_[static_cast<size_t>(i)];
    return x / std::sqrt(sigma * sigma + 1);
  }

  at::Tensor step(const at::Tensor& prediction, const at::Tensor& x, int64_t i, const NoiseSource& noise) override {
    auto at = static_cast<size_t>(i);
    auto [down, up] = ancestral_split(sigmas_[at], sigmas_[at + 1]);
    at::Tensor denoised = clean_part(prediction_, prediction, x, unscaled_level(sigmas_[at]));
    at::Tensor next = euler_step(x, denoised, sigmas_[at], down);
    return up > 0 ? next + up * noise(i) : next;
  }

 private:
  Prediction prediction_ = Prediction::noise;
  std::vector<float> sigmas_;  // of each evaluation, and the zero that the last one leads to
};

}  // namespace

std::unique_ptr<Sampler> make_euler_ancestral(SchedulerFile& file, const SamplerOptions& options) {
  return std::make_unique<EulerAncestral>(file, options);
}

}  // namespace t2i
