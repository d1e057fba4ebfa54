// Euler's method on a rectified flow: Liu, Gong and Liu, "Flow straight and fast", ICLR 2023; noise levels shifted
// towards noise as in Esser et al., "Scaling rectified flow transformers", ICML 2024, section 5.3.2.
#include <cmath>

#include "core/generate/euler.h"
#include "core/generate/sampler.h"
#include "core/generate/spacing.h"

namespace t2i {

namespace {

// How levels are moved towards noise: σ' = s σ / (1 + (s − 1) σ), by a fixed s or by one that grows with the picture.
struct Shift {
  bool dynamic = false;
  double factor = 1;  // s

  double operator()(double sigma) const { return factor * sigma / (1 + (factor - 1) * sigma); }
  // In float32, by the same operations as the folders' own scheduler.
  float operator()(float sigma) const {
    auto s = static_cast<float>(factor);
    return dynamic ? s / (s + (1 / sigma - 1)) : s * sigma / (1 + static_cast<float>(factor - 1) * sigma);
  }
};

Shift read_shift(SchedulerFile& file, int64_t image_tokens) {
  Shift shift{file.flag("use_dynamic_shifting", false), file.number("shift", 1.0)};
  if (!shift.dynamic) {
    if (!(shift.factor > 0)) file.refuse("shift", "It must be positive", "correct it");
    return shift;
  }
  bool exponential = file.choice("time_shift_type", "exponential", {"exponential", "linear"}) == "exponential";
  double base = file.number("base_shift", 0.5), most = file.number("max_shift", 1.15);
  double base_tokens = file.number("base_image_seq_len", 256), most_tokens = file.number("max_image_seq_len", 4096);
  if (!(most_tokens > base_tokens)) {
    file.refuse("max_image_seq_len", "It must be larger than base_image_seq_len", "correct it");
    return shift;
  }
  double slope = (most - base) / (most_tokens - base_tokens);
  double mu = static_cast<double>(image_tokens) * slope + (base - slope * base_tokens);
  shift.factor = exponential ? std::exp(mu) : mu;
  return shift;
}

// A fixed shift is applied twice, once to the ends and once to what lies between: so it is in the folders' own scheduler,
// and a model's published `shift` counts on it.
std::vector<double> from_one_to_the_least(const Shift& shift, int64_t steps, int64_t train) {
  auto n = static_cast<double>(train);
  auto end = [&](float sigma) {
    if (shift.dynamic) return static_cast<double>(sigma);
    auto s = static_cast<float>(shift.factor), less = static_cast<float>(shift.factor - 1);
    return static_cast<double>(s * sigma / (1 + less * sigma));
  };
  std::vector<double> levels = linspace(end(1) * n, end(1 / static_cast<float>(n)) * n, steps);
  for (double& level : levels) level = shift(level / n);
  return levels;
}

std::vector<double> from_one_to_a_step(const Shift& shift, int64_t steps) {
  std::vector<double> levels = linspace(1, 1 / static_cast<double>(steps), steps);
  for (double& level : levels) level = static_cast<double>(shift(static_cast<float>(level)));
  return levels;
}

class FlowEuler final : public Sampler {
 public:
  FlowEuler(SchedulerFile& file, const SamplerOptions& options) {
    int64_t train = file.integer("num_train_timesteps", 1000, 1, 1'000'000);
    Shift shift = read_shift(file, options.image_tokens);
    double terminal = file.number("shift_terminal", 0.0);
    if (!(terminal >= 0 && terminal < 1)) file.refuse("shift_terminal", "It must lie between 0 and 1", "correct it");
    SigmaSpread spread = read_sigma_spread(file);
    stochastic_ = file.flag("stochastic_sampling", false);
    if (file.flag("invert_sigmas", false))
      file.refuse("invert_sigmas", "Flows that run from the picture to noise are not offered", "set it to false");
    file.check();
    if (options.steps < 1 || options.steps > train)
      fail({"--steps", std::to_string(options.steps) + " steps cannot be laid over " + std::to_string(train) + " training timesteps",
            "", "use 1 to " + std::to_string(train), "E6004", Exit::config});

    std::vector<double> levels = options.flow_ends_at_step ? from_one_to_a_step(shift, options.steps)
                                                           : from_one_to_the_least(shift, options.steps, train);
    if (terminal > 0) {
      double stretch = (1 - levels.back()) / (1 - terminal);
      for (double& level : levels) level = 1 - (1 - level) / stretch;
    }
    if (spread.kind != SigmaSpread::none) levels = spread_sigmas(spread, levels.front(), levels.back(), options.steps);
    sigmas_.assign(levels.begin(), levels.end());
    for (float sigma : sigmas_) timesteps_.push_back(sigma * static_cast<float>(train));
    sigmas_.push_back(0);
  }

  at::Tensor step(const at::Tensor& prediction, const at::Tensor& x, int64_t i, const NoiseSource& noise) override {
    auto at = static_cast<size_t>(i);
    float sigma = sigmas_[at], next = sigmas_[at + 1];
    at::Tensor denoised = clean_part(Prediction::flow, prediction, x, flow_level(sigma));
    if (stochastic_) return (1 - next) * denoised + next * noise(i);
    return euler_step(x, denoised, sigma, next);
  }

 private:
  std::vector<float> sigmas_;  // of each evaluation, and the zero that the last one leads to
  bool stochastic_ = false;
};

}  // namespace

std::unique_ptr<Sampler> make_flow_euler(SchedulerFile& file, const SamplerOptions& options) {
  return std::make_unique<FlowEuler>(file, options);
}

}  // namespace t2i
