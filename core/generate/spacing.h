// Which timesteps and noise levels a sampler visits. All in double, with numpy's rules for ranges and rounding: a tie
// between two integers must fall the same way as in diffusers, or a whole step is taken elsewhere.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/generate/schedule.h"

namespace t2i {

// `count` values from `first` to `last`, both included; one value is `first`.
std::vector<double> linspace(double first, double last, int64_t count);

// The `steps` timesteps of the schedule's spacing, descending. Under linspace they are rounded to integers unless
// `fractional`. E6004 where there are more steps than training timesteps.
std::vector<double> spaced_timesteps(const NoiseSchedule& schedule, int64_t steps, bool fractional);

// start, start − step, … above zero, rounded to the nearest even on ties, less one; at most `most` of them.
std::vector<double> trailing_timesteps(double start, double step, int64_t most);

// values[0 …] read at fractional positions, clamped at both ends.
double interpolate(std::span<const float> values, double position);

// ---- another spread of noise levels than the timesteps' own ----

struct SigmaSpread {
  enum Kind { none, karras, exponential } kind = none;
  std::optional<double> highest, lowest;  // where the file gives them; else the timesteps' own
};

// use_karras_sigmas and its like, sigma_max, sigma_min; those that are not offered are refused.
SigmaSpread read_sigma_spread(SchedulerFile& file);

// `count` levels from highest to lowest. karras: Karras et al. 2022, eq. 5 with ρ = 7; exponential: evenly in log σ.
std::vector<double> spread_sigmas(const SigmaSpread& spread, double highest, double lowest, int64_t count);

// The fractional timesteps that have these noise levels, by linear interpolation in log σ. `sigmas` ascend.
std::vector<double> timesteps_of(std::span<const double> levels, std::span<const float> sigmas);

}  // namespace t2i
