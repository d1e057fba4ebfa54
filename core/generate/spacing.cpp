#include "core/generate/spacing.h"

#include <algorithm>
#include <cmath>

namespace t2i {

std::vector<double> linspace(double first, double last, int64_t count) {
  std::vector<double> values(static_cast<size_t>(count), first);
  if (count < 2) return values;
  double step = (last - first) / static_cast<double>(count - 1);
  for (int64_t i = 0; i < count; ++i) values[static_cast<size_t>(i)] = static_cast<double>(i) * step + first;
  values.back() = last;
  return values;
}

std::vector<double> trailing_timesteps(double start, double step, int64_t most) {
  // Rounding makes start / step come out just above a whole number for some step counts (61 of 1000 is one). numpy then
  // has one value too many, which is zero and would become timestep −1; `most` leaves it out.
  int64_t count = std::min(most, static_cast<int64_t>(std::ceil(start / step)));
  double delta = (start - step) - start;  // as numpy's arange: from the first two values, not from `step` itself
  std::vector<double> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(std::nearbyint(start + static_cast<double>(i) * delta) - 1);
  return values;
}

std::vector<double> spaced_timesteps(const NoiseSchedule& schedule, int64_t steps, bool fractional) {
  int64_t train = schedule.train_timesteps;
  if (steps < 1 || steps > train)
    fail({"--steps", std::to_string(steps) + " steps cannot be laid over " + std::to_string(train) + " training timesteps",
          "", "use 1 to " + std::to_string(train), "E6004", Exit::config});
  if (schedule.spacing == Spacing::trailing)
    return trailing_timesteps(static_cast<double>(train), static_cast<double>(train) / static_cast<double>(steps), steps);
  std::vector<double> values;
  if (schedule.spacing == Spacing::linspace) {
    values = linspace(0, static_cast<double>(train - 1), steps);
    for (double& t : values) t = fractional ? static_cast<double>(static_cast<float>(t)) : std::nearbyint(t);
  } else {
    for (int64_t i = 0; i < steps; ++i)
      values.push_back(static_cast<double>(i * (train / steps) + schedule.steps_offset));
  }
  std::ranges::reverse(values);
  return values;
}

double interpolate(std::span<const float> values, double position) {
  if (position <= 0) return values.front();
  if (position >= static_cast<double>(values.size() - 1)) return values.back();
  double floor = std::floor(position);
  auto i = static_cast<size_t>(floor);
  double low = values[i], high = values[i + 1];
  return position == floor ? low : (high - low) * (position - floor) + low;
}

SigmaSpread read_sigma_spread(SchedulerFile& file) {
  bool karras = file.flag("use_karras_sigmas", false), exponential = file.flag("use_exponential_sigmas", false);
  for (const char* key : {"use_beta_sigmas", "use_lu_lambdas"})
    if (file.flag(key, false))
      file.refuse(key, "This spread of noise levels is not offered", "use_karras_sigmas or use_exponential_sigmas");
  if (karras && exponential) file.refuse("use_exponential_sigmas", "use_karras_sigmas is set as well", "choose one");
  SigmaSpread spread;
  spread.kind = karras ? SigmaSpread::karras : exponential ? SigmaSpread::exponential : SigmaSpread::none;
  spread.highest = file.number("sigma_max"), spread.lowest = file.number("sigma_min");
  for (const char* key : {"sigma_max", "sigma_min"})
    if (file.number(key).value_or(1) <= 0) file.refuse(key, "A noise level must be positive", "correct it");
  return spread;
}

std::vector<double> spread_sigmas(const SigmaSpread& spread, double highest, double lowest, int64_t count) {
  highest = spread.highest.value_or(highest), lowest = spread.lowest.value_or(lowest);
  if (spread.kind == SigmaSpread::exponential) {
    std::vector<double> levels = linspace(std::log(highest), std::log(lowest), count);
    for (double& level : levels) level = std::exp(level);
    return levels;
  }
  constexpr double rho = 7;
  double first = std::pow(highest, 1 / rho), last = std::pow(lowest, 1 / rho);
  std::vector<double> levels = linspace(0, 1, count);
  for (double& level : levels) level = std::pow(first + level * (last - first), rho);
  return levels;
}

std::vector<double> timesteps_of(std::span<const double> levels, std::span<const float> sigmas) {
  std::vector<float> log_sigmas;
  for (float sigma : sigmas) log_sigmas.push_back(std::log(sigma));
  std::vector<double> timesteps;
  for (double level : levels) {
    double log_level = std::log(std::max(level, 1e-10));
    auto above = std::ranges::upper_bound(log_sigmas, log_level, std::less<>(), [](float v) { return static_cast<double>(v); });
    int64_t low = std::clamp<int64_t>(above - log_sigmas.begin() - 1, 0, static_cast<int64_t>(log_sigmas.size()) - 2);
    float log_low = log_sigmas[static_cast<size_t>(low)], log_high = log_sigmas[static_cast<size_t>(low) + 1];
    double weight = std::clamp((log_low - log_level) / (log_low - log_high), 0.0, 1.0);
    timesteps.push_back((1 - weight) * static_cast<double>(low) + weight * static_cast<double>(low + 1));
  }
  return timesteps;
}

}  // namespace t2i
