// What the optimizer's options mean together.
#pragma once
#include <string>
#include <vector>

#include "core/config/config.h"

namespace t2i {

// adamw, adamw8bit, … as optimizer.name takes them.
const std::vector<std::string>& optimizer_names();

// What was set, or else the optimizer's own. With relative steps 1: relative_step() is then all of it.
double learning_rate_of(const OptimizerConfig& config);

// Does the step's size follow from its number, and from no learning rate?
bool learning_rates_are_relative(const OptimizerConfig& config);

// What becomes of `rate`, the highest of the run, in an optimizer step (from 0) where the schedule multiplies by `multiplier`.
double learning_rate_at(const OptimizerConfig& config, double rate, int64_t step, double multiplier);

// Options that contradict each other or that nothing reads: E7200 to E7202.
std::vector<Error> check_optimizer(const Config& config);

}  // namespace t2i
