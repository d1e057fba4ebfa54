#include "core/base/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/base/error.h"

namespace t2i {
namespace {

constexpr double polynomial_end = 1e-7;

double ramp(int64_t step, int64_t of) {
  return static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, of));
}

double cosine(const LrSchedule& s, int64_t step) {
  double progress = ramp(step - s.warmup_steps, s.total_steps - s.warmup_steps);
  return std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * 0.5 * 2.0 * progress)));
}

double cosine_with_restarts(const LrSchedule& s, int64_t step) {
  double progress = ramp(step - s.warmup_steps, s.total_steps - s.warmup_steps);
  if (progress >= 1.0) return 0.0;
  double within = std::fmod(static_cast<double>(s.cycles) * progress, 1.0);
  return std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * within)));
}

double polynomial(const LrSchedule& s, int64_t step) {
  int64_t decay_steps = s.total_steps - s.warmup_steps;
  if (step > s.total_steps || decay_steps <= 0) return polynomial_end / s.learning_rate;
  double remaining = 1 - static_cast<double>(step - s.warmup_steps) / static_cast<double>(decay_steps);
  double rate = (s.learning_rate - polynomial_end) * std::pow(remaining, s.power) + polynomial_end;
  return rate / s.learning_rate;
}

}  // namespace

const std::vector<std::string>& lr_schedule_names() {
  static const std::vector<std::string> names = {
      "constant", "linear", "cosine", "polynomial", "cosine_with_restarts", "constant_with_warmup"};
  return names;
}

double lr_multiplier(const LrSchedule& s, int64_t step) {
  if (s.name == "constant") return 1.0;
  if (step < s.warmup_steps) return ramp(step, s.warmup_steps);
  if (s.name == "constant_with_warmup") return 1.0;
  if (s.name == "linear") return std::max(0.0, ramp(s.total_steps - step, s.total_steps - s.warmup_steps));
  if (s.name == "cosine") return cosine(s, step);
  if (s.name == "cosine_with_restarts") return cosine_with_restarts(s, step);
  if (s.name == "polynomial") return polynomial(s, step);
  fail({"optimizer.lr_scheduler", "there is no schedule '" + s.name + "'", "", "report this as a bug", "E4301",
        Exit::failed});
}

}  // namespace t2i
