// PNDM and PLMS: Liu, Ren, Lin and Zhao, "Pseudo numerical methods for diffusion models on manifolds", ICLR 2022.
// Published Stable Diffusion folders name it, with skip_prk_steps: linear multistep (PLMS) from the first step on.
#include <cmath>
#include <utility>

#include "core/generate/sampler.h"
#include "core/generate/spacing.h"

namespace t2i {

namespace {

// Eq. 9 (the "transfer part"), for x at alpha_bar and the noise predicted in it.
at::Tensor transfer(const at::Tensor& x, const at::Tensor& noise, float alpha_bar, float alpha_bar_prev) {
  float left = 1 - alpha_bar, left_prev = 1 - alpha_bar_prev;
  float divisor = alpha_bar * std::sqrt(left_prev) + std::sqrt(alpha_bar * left * alpha_bar_prev);
  return std::sqrt(alpha_bar_prev / alpha_bar) * x - noise * ((alpha_bar_prev - alpha_bar) / divisor);
}

class Pndm final : public Sampler {
 public:
  Pndm(SchedulerFile& file, const SamplerOptions& options) {
    ScheduleDefaults defaults;
    defaults.zero_snr = false;
    defaults.predictions = {"epsilon", "v_prediction"};
    schedule_ = read_noise_schedule(file, defaults);
    bool to_one = file.flag("set_alpha_to_one", false), skip_prk = file.flag("skip_prk_steps", false);
    file.check();
    final_alpha_bar_ = to_one ? 1.0f : schedule_.alpha_bar[0];
    stride_ = schedule_.train_timesteps / options.steps;
    std::vector<double> spaced = spaced_timesteps(schedule_, options.steps, false);
    skip_prk ? linear_multistep_timesteps(spaced) : runge_kutta_timesteps(spaced);
  }

  at::Tensor step(const at::Tensor& prediction, const at::Tensor& x, int64_t i, const NoiseSource&) override {
    if (i == 0) history_.clear();
    auto at = static_cast<size_t>(i);
    return at < runge_kutta_count_ ? runge_kutta(prediction, x, at) : linear_multistep(prediction, x, at);
  }

 private:
  // The second timestep is evaluated twice: once to look ahead, once to go there.
  void linear_multistep_timesteps(const std::vector<double>& spaced) {
    timesteps_ = {spaced.begin(), spaced.begin() + std::min<ptrdiff_t>(2, std::ssize(spaced))};
    if (spaced.size() > 1) timesteps_.insert(timesteps_.end(), spaced.begin() + 1, spaced.end());
  }

  // The first three steps take four evaluations each: at the step, twice halfway to the next, at the next.
  void runge_kutta_timesteps(const std::vector<double>& spaced) {
    if (spaced.size() < 4)
      fail({"--steps", "this folder's sampler needs at least 4 steps",
            "scheduler_config.json has skip_prk_steps: false, so three Runge-Kutta steps come first", "use --steps 4 or more",
            "E6004", Exit::config});
    auto half = static_cast<double>(stride_ / 2);
    for (size_t k = 0; k < 3; ++k) {
      double middle = spaced[k + 1] + half;
      timesteps_.insert(timesteps_.end(), {spaced[k], middle, middle, spaced[k + 1]});
    }
    runge_kutta_count_ = timesteps_.size();
    timesteps_.insert(timesteps_.end(), spaced.begin() + 3, spaced.end());
  }

  // Eq. 12: the classical fourth-order weights 1/6, 1/3, 1/3, 1/6 on the network's outputs.
  at::Tensor runge_kutta(const at::Tensor& prediction, const at::Tensor& x, size_t at) {
    size_t stage = at % 4;
    double start = timesteps_[at - stage];
    if (stage == 0) {
      history_.push_back(prediction);
      start_x_ = x;
      sum_ = prediction / 6;
      return advance(start_x_, prediction, start, start - static_cast<double>(stride_ / 2));
    }
    if (stage < 3) {
      sum_ = sum_ + prediction / 3;
      double to = stage == 1 ? timesteps_[at] : timesteps_[at] - static_cast<double>(stride_ / 2);
      return advance(start_x_, prediction, start, to);
    }
    return advance(start_x_, sum_ + prediction / 6, start, timesteps_[at]);
  }

  // Eq. 10 and 11: Adams-Bashforth over the last outputs, of rising order at the start.
  at::Tensor linear_multistep(const at::Tensor& prediction, const at::Tensor& x, size_t at) {
    double t = timesteps_[at];
    if (at == 1 && runge_kutta_count_ == 0) {  // second look at the first step: the mean of both ends
      at::Tensor from = std::exchange(start_x_, at::Tensor());
      return advance(from, (prediction + history_.back()) / 2, t + static_cast<double>(stride_), t);
    }
    if (history_.size() > 3) history_.erase(history_.begin());
    history_.push_back(prediction);
    size_t n = history_.size();
    const std::vector<at::Tensor>& e = history_;
    at::Tensor mean;
    if (n == 1) mean = prediction, start_x_ = x;
    else if (n == 2) mean = (3 * e[1] - e[0]) / 2;
    else if (n == 3) mean = (23 * e[2] - 16 * e[1] + 5 * e[0]) / 12;
    else mean = (55 * e[3] - 59 * e[2] + 37 * e[1] - 9 * e[0]) / 24;
    return advance(x, mean, t, t - static_cast<double>(stride_));
  }

  // From timestep t to t_prev with a mean of outputs, whose meaning is settled at x.
  at::Tensor advance(const at::Tensor& x, const at::Tensor& output, double t, double t_prev) const {
    float alpha_bar = alpha_bar_at(schedule_, static_cast<int64_t>(t));
    float prev = t_prev >= 0 ? alpha_bar_at(schedule_, static_cast<int64_t>(t_prev)) : final_alpha_bar_;
    return transfer(x, noise_part(schedule_.prediction, output, x, level_of_alpha_bar(alpha_bar)), alpha_bar, prev);
  }

  NoiseSchedule schedule_;
  float final_alpha_bar_ = 1;
  int64_t stride_ = 0;
  size_t runge_kutta_count_ = 0;     // evaluations that belong to Runge-Kutta steps
  std::vector<at::Tensor> history_;  // network outputs, newest last
  at::Tensor start_x_, sum_;         // where the present Runge-Kutta or first step began; its weighted outputs
};

}  // namespace

std::unique_ptr<Sampler> make_pndm(SchedulerFile& file, const SamplerOptions& options) {
  return std::make_unique<Pndm>(file, options);
}

}  // namespace t2i
