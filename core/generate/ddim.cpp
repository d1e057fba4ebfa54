// DDIM: Song, Meng and Ermon, "Denoising diffusion implicit models", ICLR 2021. Deterministic (eta = 0).
#include "core/generate/sampler.h"
#include "core/generate/spacing.h"

namespace t2i {

namespace {

// Eq. 12 with sigma_t = 0: x_prev = √ᾱ_prev · x_0 + √(1 − ᾱ_prev) · noise.
at::Tensor ddim_step(const at::Tensor& clean, const at::Tensor& noise, float alpha_bar_prev) {
  NoiseLevel prev = level_of_alpha_bar(alpha_bar_prev);
  return prev.alpha * clean + prev.sigma * noise;
}

class Ddim final : public Sampler {
 public:
  Ddim(SchedulerFile& file, const SamplerOptions& options)
      : schedule_(read_noise_schedule(file, {})), clip_(read_clip(file, true)) {
    bool to_one = file.flag("set_alpha_to_one", true);
    file.check();
    final_alpha_bar_ = to_one ? 1.0f : schedule_.alpha_bar[0];
    stride_ = schedule_.train_timesteps / options.steps;
    timesteps_ = spaced_timesteps(schedule_, options.steps, false);
    refuse_blind_start(file, schedule_, timesteps_[0]);
  }

  at::Tensor step(const at::Tensor& prediction, const at::Tensor& x, int64_t i, const NoiseSource&) override {
    auto t = static_cast<int64_t>(timesteps_[static_cast<size_t>(i)]), t_prev = t - stride_;
    NoiseLevel level = level_of_alpha_bar(alpha_bar_at(schedule_, t));
    at::Tensor clean = clip_(clean_part(schedule_.prediction, prediction, x, level));
    // The noise is the network's own, not the one that a clipped picture would leave.
    at::Tensor noise = noise_part(schedule_.prediction, prediction, x, level);
    return ddim_step(clean, noise, t_prev >= 0 ? alpha_bar_at(schedule_, t_prev) : final_alpha_bar_);
  }

 private:
  NoiseSchedule schedule_;
  Clip clip_;
  float final_alpha_bar_ = 1;
  int64_t stride_ = 0;  // training timesteps per step; not the distance to the next one under linspace and trailing
};

}  // namespace

std::unique_ptr<Sampler> make_ddim(SchedulerFile& file, const SamplerOptions& options) {
  return std::make_unique<Ddim>(file, options);
}

}  // namespace t2i
