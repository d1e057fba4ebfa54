// DDPM: Ho, Jain and Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020.
#include <cmath>

#include "core/generate/sampler.h"
#include "core/generate/spacing.h"

namespace t2i {

namespace {

enum class Variance { small, large };  // β̃_t or β_t (section 3.2)

// Eq. 6 and 7: the mean of q(x_prev | x_t, x_0), plus noise of the chosen variance.
at::Tensor ddpm_step(const at::Tensor& clean, const at::Tensor& x, float alpha_bar, float alpha_bar_prev,
                     Variance variance, const at::Tensor& noise) {
  float alpha = alpha_bar / alpha_bar_prev, beta = 1 - alpha;
  float left = 1 - alpha_bar, left_prev = 1 - alpha_bar_prev;
  at::Tensor mean = (std::sqrt(alpha_bar_prev) * beta / left) * clean + (std::sqrt(alpha) * left_prev / left) * x;
  if (!noise.defined()) return mean;
  float small = std::max(left_prev / left * beta, 1e-20f);
  return mean + std::sqrt(variance == Variance::small ? small : beta) * noise;
}

class Ddpm final : public Sampler {
 public:
  Ddpm(SchedulerFile& file, const SamplerOptions& options)
      : schedule_(read_noise_schedule(file, {})), clip_(read_clip(file, true)) {
    std::string variance =
        file.choice("variance_type", "fixed_small", {"fixed_small", "fixed_small_log", "fixed_large"});
    file.check();
    variance_ = variance == "fixed_large" ? Variance::large : Variance::small;
    timesteps_ = spaced_timesteps(schedule_, options.steps, false);
    refuse_blind_start(file, schedule_, timesteps_[0]);
  }

  at::Tensor step(const at::Tensor& prediction, const at::Tensor& x, int64_t i, const NoiseSource& noise) override {
    auto at = static_cast<size_t>(i);
    auto t = static_cast<int64_t>(timesteps_[at]);
    float alpha_bar = alpha_bar_at(schedule_, t), alpha_bar_prev = 1;
    if (at + 1 < timesteps_.size()) alpha_bar_prev = alpha_bar_at(schedule_, static_cast<int64_t>(timesteps_[at + 1]));
    at::Tensor clean = clip_(clean_part(schedule_.prediction, prediction, x, level_of_alpha_bar(alpha_bar)));
    return ddpm_step(clean, x, alpha_bar, alpha_bar_prev, variance_, t > 0 ? noise(i) : at::Tensor());
  }

 private:
  NoiseSchedule schedule_;
  Clip clip_;
  Variance variance_ = Variance::small;
};

}  // namespace

std::unique_ptr<Sampler> make_ddpm(SchedulerFile& file, const SamplerOptions& options) {
  return std::make_unique<Ddpm>(file, options);
}

}  // namespace t2i
