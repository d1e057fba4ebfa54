#include "core/generate/euler.h"

#include <algorithm>
#include <cmath>

#include "core/generate/sampler.h"
#include "core/generate/spacing.h"

namespace t2i {

namespace {

class Euler final : public Sampler {
 public:
  Euler(SchedulerFile& file, const SamplerOptions& options) {
    ScheduleDefaults defaults;
    defaults.spacing = Spacing::linspace;
    defaults.zero_snr_floor = true;
    NoiseSchedule schedule = read_noise_schedule(file, defaults);
    SigmaSpread spread = read_sigma_spread(file);
    bool log_linear = file.choice("interpolation_type", "linear", {"linear", "log_linear"}) == "log_linear";
    bool continuous = file.choice("timestep_type", "discrete", {"discrete", "continuous"}) == "continuous";
    bool ends_at_zero = file.choice("final_sigmas_type", "zero", {"zero", "sigma_min"}) == "zero";
    file.check();
    prediction_ = schedule.prediction;

    std::vector<float> all = sigmas_of(schedule);
    timesteps_ = spaced_timesteps(schedule, options.steps, true);
    std::vector<double> levels;
    if (log_linear) {
      at::Tensor line = at::linspace(std::log(all.back()), std::log(all.front()), options.steps + 1, at::kFloat).exp();
      for (int64_t i = 0; i <= options.steps; ++i) levels.push_back(line[i].item<float>());
    } else {
      for (double t : timesteps_) levels.push_back(interpolate(all, t));
    }
    if (spread.kind != SigmaSpread::none) {
      levels = spread_sigmas(spread, levels.front(), levels.back(), options.steps);
      timesteps_ = timesteps_of(levels, all);
    }
    levels.push_back(ends_at_zero ? 0.0 : all.front());
    sigmas_.assign(levels.begin(), levels.end());
    if (continuous && prediction_ == Prediction::velocity)
      for (size_t i = 0; i < timesteps_.size(); ++i) timesteps_[i] = 0.25f * std::log(sigmas_[i]);

    float highest = *std::ranges::max_element(sigmas_);
    // Under leading spacing the first level is not quite all noise: the picture's own variance counts.
    init_noise_sigma_ = schedule.spacing == Spacing::leading ? std::sqrt(highest * highest + 1) : highest;
  }

  at::Tensor scale_input(const at::Tensor& x, int64_t i) const override {
    float sigma = sigmas_[static_cast<size_t>(i)];
    return x / std::sqrt(sigma * sigma + 1);
  }

  at::Tensor step(const at::Tensor& prediction, const at::Tensor& x, int64_t i, const NoiseSource&) override {
    auto at = static_cast<size_t>(i);
    at::Tensor denoised = clean_part(prediction_, prediction, x, unscaled_level(sigmas_[at]));
    return euler_step(x, denoised, sigmas_[at], sigmas_[at + 1]);
  }

 private:
  Prediction prediction_ = Prediction::noise;
  std::vector<float> sigmas_;  // of each evaluation, and where the last one leads
};

}  // namespace

std::unique_ptr<Sampler> make_euler(SchedulerFile& file, const SamplerOptions& options) {
  return std::make_unique<Euler>(file, options);
}

}  // namespace t2i
