// DPM-Solver++(2M): Lu, Zhou, Bao, Chen, Li and Zhu, "DPM-Solver++: fast solver for guided sampling of diffusion
// probabilistic models", 2022, algorithm 2, in the data-prediction form.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/generate/sampler.h"
#include "core/generate/spacing.h"

namespace t2i {

namespace {

// λ = log(α / σ), half the log of the signal-to-noise ratio: the time in which the solver is linear.
float lambda_of(NoiseLevel level) { return std::log(level.alpha) - std::log(level.sigma); }

// x at `to` from x at `from`: the exact solution where x_0 stays `clean` on the way (eq. 8 with k = 1).
at::Tensor first_order(const at::Tensor& x, const at::Tensor& clean, NoiseLevel from, NoiseLevel to) {
  float h = lambda_of(to) - lambda_of(from);
  return (to.sigma / from.sigma) * x - (to.alpha * (std::exp(-h) - 1)) * clean;
}

// The same with x_0 on a line through the last two estimates (eq. 8 with k = 2). `midpoint` and `heun` differ in how
// the slope's integral is approximated.
at::Tensor second_order(const at::Tensor& x, const at::Tensor& clean, const at::Tensor& clean_before, NoiseLevel before,
                        NoiseLevel from, NoiseLevel to, bool heun) {
  float h = lambda_of(to) - lambda_of(from), r = (lambda_of(from) - lambda_of(before)) / h;
  float grow = std::exp(-h) - 1;
  at::Tensor slope = (1 / r) * (clean - clean_before);
  float slope_weight = heun ? to.alpha * (grow / h + 1) : -0.5f * (to.alpha * grow);
  return (to.sigma / from.sigma) * x - (to.alpha * grow) * clean + slope_weight * slope;
}

class DpmMultistep final : public Sampler {
 public:
  DpmMultistep(SchedulerFile& file, const SamplerOptions& options) {
    ScheduleDefaults defaults;
    defaults.spacing = Spacing::linspace;
    defaults.zero_snr_floor = true;
    defaults.predictions.emplace_back("flow_prediction");
    NoiseSchedule schedule = read_noise_schedule(file, defaults);
    prediction_ = schedule.prediction;
    SigmaSpread spread = read_sigma_spread(file);
    read_clip(file, false);
    file.choice("algorithm_type", "dpmsolver++", {"dpmsolver++"});
    order_ = file.integer("solver_order", 2, 1, 2);
    heun_ = file.choice("solver_type", "midpoint", {"midpoint", "heun"}) == "heun";
    bool ends_at_zero = file.choice("final_sigmas_type", "zero", {"zero", "sigma_min"}) == "zero";
    bool lower_order_final = file.flag("lower_order_final", true), euler_at_final = file.flag("euler_at_final", false);
    double lambda_min = file.number("lambda_min_clipped", -std::numeric_limits<double>::infinity());
    flow_ = file.flag("use_flow_sigmas", false);
    double shift = file.number("flow_shift", 1.0);
    if (!flow_ && prediction_ == Prediction::flow)
      file.refuse("use_flow_sigmas", "The model predicts a flow, whose noise levels are no diffusion model's", "set it to true");
    if (flow_ && spread.kind != SigmaSpread::none)
      file.refuse("use_flow_sigmas",
                  "Another spread of noise levels is set as well, which is that of a diffusion model", "choose one");
    if (flow_ && file.flag("use_dynamic_shifting", false))
      file.refuse("use_dynamic_shifting", "This sampler shifts by a fixed amount only", "set it to false and give flow_shift");
    file.check();

    std::vector<float> all = sigmas_of(schedule);
    std::vector<double> levels;
    if (spread.kind != SigmaSpread::none) {
      levels = spread_sigmas(spread, all.back(), all.front(), options.steps);
      timesteps_ = timesteps_of(levels, all);
      if (spread.kind == SigmaSpread::karras && !schedule.cosine)
        for (double& t : timesteps_) t = std::nearbyint(t);
    } else if (flow_) {
      for (double alpha : linspace(1, 1 / static_cast<double>(schedule.train_timesteps), options.steps + 1))
        levels.insert(levels.begin(), shift * (1 - alpha) / (1 + (shift - 1) * (1 - alpha)));
      levels.pop_back();
      for (double sigma : levels) timesteps_.push_back(sigma * static_cast<double>(schedule.train_timesteps));
    } else {
      timesteps_ = multistep_timesteps(schedule, options.steps, lambda_min);
      for (double t : timesteps_) levels.push_back(interpolate(all, t));
    }
    for (double& t : timesteps_) t = std::trunc(t);
    levels.push_back(ends_at_zero ? 0.0 : all.front());
    sigmas_.assign(levels.begin(), levels.end());

    // With few steps, and always where σ = 0 (λ is infinite there), the last step falls back to first order.
    auto steps = static_cast<int64_t>(timesteps_.size());
    first_order_last_ = euler_at_final || ends_at_zero || (lower_order_final && steps < 15);
  }

  at::Tensor step(const at::Tensor& prediction, const at::Tensor& x, int64_t i, const NoiseSource&) override {
    auto at = static_cast<size_t>(i);
    NoiseLevel from = level(at), to = level(at + 1);
    at::Tensor clean = clean_part(prediction_, prediction, x, from);
    at::Tensor before = std::exchange(clean_before_, clean);
    bool last = at + 1 == timesteps_.size();
    if (order_ == 1 || at == 0 || (last && first_order_last_)) return first_order(x, clean, from, to);
    return second_order(x, clean, before, level(at - 1), from, to, heun_);
  }

 private:
  NoiseLevel level(size_t at) const { return flow_ ? flow_level(sigmas_[at]) : level_of_sigma(sigmas_[at]); }

  // As the spacings of the other samplers, but over one step more, the last of which is left to the final level; and
  // without the noisiest timesteps, where λ < lambda_min.
  static std::vector<double> multistep_timesteps(const NoiseSchedule& schedule, int64_t steps, double lambda_min) {
    int64_t end = schedule.train_timesteps;
    while (end > 0 && lambda_of(level_of_alpha_bar(schedule.alpha_bar[static_cast<size_t>(end) - 1])) < lambda_min) --end;
    bool trailing = schedule.spacing == Spacing::trailing;
    if (steps < 1 || steps > end - (trailing ? 0 : 1))
      fail({"--steps", std::to_string(steps) + " steps cannot be laid over " + std::to_string(end) + " training timesteps",
            "", "use fewer", "E6004", Exit::config});
    if (trailing)
      return trailing_timesteps(static_cast<double>(end),
                                static_cast<double>(schedule.train_timesteps) / static_cast<double>(steps), steps);
    std::vector<double> ascending;
    if (schedule.spacing == Spacing::linspace) {
      ascending = linspace(0, static_cast<double>(end - 1), steps + 1);
      for (double& t : ascending) t = std::nearbyint(t);
    } else {
      for (int64_t i = 0; i <= steps; ++i)
        ascending.push_back(static_cast<double>(i * (end / (steps + 1)) + schedule.steps_offset));
    }
    return {ascending.rbegin(), ascending.rend() - 1};
  }

  Prediction prediction_ = Prediction::noise;
  std::vector<float> sigmas_;  // of each evaluation, and where the last one leads
  bool flow_ = false, heun_ = false, first_order_last_ = false;
  int64_t order_ = 2;
  at::Tensor clean_before_;  // the estimate of the evaluation before
};

}  // namespace

std::unique_ptr<Sampler> make_dpm_multistep(SchedulerFile& file, const SamplerOptions& options) {
  return std::make_unique<DpmMultistep>(file, options);
}

}  // namespace t2i
