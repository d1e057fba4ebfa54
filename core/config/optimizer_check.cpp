#include "core/config/optimizer_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "core/config/knob.h"

namespace t2i {

const std::vector<std::string>& optimizer_names() {
  static const std::vector<std::string> names = {"adamw", "adamw8bit", "adafactor", "lion", "prodigy", "adamw_schedule_free"};
  return names;
}

bool learning_rates_are_relative(const OptimizerConfig& o) { return o.name == "adafactor" && o.adafactor_relative_step; }

double learning_rate_of(const OptimizerConfig& o) {
  if (o.learning_rate) return *o.learning_rate;
  if (o.name == "prodigy" || learning_rates_are_relative(o)) return 1.0;
  return o.name == "adamw_schedule_free" ? 0.0025 : 1e-4;
}

double learning_rate_at(const OptimizerConfig& o, double rate, int64_t step, double multiplier) {
  const double number = static_cast<double>(step + 1);
  if (learning_rates_are_relative(o))  // Shazeer & Stern 2018, section 9
    return std::min(o.adafactor_warmup_init ? 1e-6 * number : 1e-2, 1.0 / std::sqrt(number));
  if (o.name == "adamw_schedule_free" && step < o.schedule_free_warmup_steps)
    multiplier *= number / static_cast<double>(o.schedule_free_warmup_steps);
  return rate * multiplier;
}

namespace {

struct Check {
  const Config& config;
  std::vector<Error> errors;
  std::string where(const std::string& key) const {
    auto found = config.positions.find(key);
    return found == config.positions.end() ? key : found->second;
  }
  void note(const std::string& key, std::string what, std::string why, std::string todo, std::string id) {
    errors.push_back({where(key), std::move(what), std::move(why), std::move(todo), std::move(id), Exit::config});
  }
};

// What another optimizer reads would silently do nothing.
void check_owners(Check& check) {
  const std::string& name = check.config.optimizer.name;
  for (const Knob& knob : knobs()) {
    if (knob.only_for.empty() || std::ranges::count(knob.only_for, name)) continue;
    if (knob.value(check.config) == knob.value(Config())) continue;
    check.note(knob.key, fmt::format("{} is an option of {}", knob.key, fmt::join(knob.only_for, ", ")), fmt::format("optimizer.name is {}", name),
               fmt::format("remove it, or set optimizer.name: {}", knob.only_for[0]), "E7200");
  }
}

// Where the optimizer has its own way with the learning rate.
void check_learning_rate(Check& check) {
  const OptimizerConfig& o = check.config.optimizer;
  const bool relative = learning_rates_are_relative(o), free = o.name == "adamw_schedule_free";
  if (relative && o.learning_rate)
    check.note("optimizer.learning_rate", fmt::format("optimizer.learning_rate = {} is not used", *o.learning_rate),
               "With adafactor_relative_step the step's size follows from its number", "set optimizer.adafactor_relative_step: false, or leave it out", "E7201");
  if (o.name == "adafactor" && !relative && o.adafactor_warmup_init)
    check.note("optimizer.adafactor_warmup_init", "optimizer.adafactor_warmup_init is not used", "Only relative steps grow from a small one",
               "set optimizer.adafactor_relative_step: true, or leave it out", "E7201");
  if ((relative || free) && o.lr_scheduler != "constant")
    check.note("optimizer.lr_scheduler", fmt::format("optimizer.lr_scheduler = {} does not go with {}", o.lr_scheduler, o.name),
               relative ? "Its relative steps are a schedule of their own" : "It takes the place of a schedule",
               relative ? "set it to constant, or optimizer.adafactor_relative_step: false" : "set it to constant; optimizer.schedule_free_warmup_steps warms up",
               "E7201");
  if (free && o.adam_beta1 == 0)
    check.note("optimizer.adam_beta1", "optimizer.adam_beta1 = 0 does not go with adamw_schedule_free", "Gradients would be taken at the steps themselves, and no average kept",
               "set it above 0", "E7201");
}

// Gradients that are gone at once cannot be summed, measured or scaled together.
void check_fused_backward(Check& check) {
  const Config& c = check.config;
  if (!c.optimizer.fused_backward) return;
  auto refuse = [&](const std::string& key, const std::string& value, const std::string& why, const std::string& todo) {
    check.note(key, fmt::format("{} = {} does not go with optimizer.fused_backward", key, value), why, todo, "E7202");
  };
  if (c.train.gradient_accumulation_steps > 1)
    refuse("train.gradient_accumulation_steps", fmt::format("{}", c.train.gradient_accumulation_steps), "A gradient is gone before the next one comes",
           "set it to 1; a larger train.train_batch_size averages over as many samples");
  if (c.train.max_grad_norm > 0)
    refuse("train.max_grad_norm", fmt::format("{}", c.train.max_grad_norm), "The norm of all gradients is known when the first weights have changed",
           "set it to 0");
  if (c.train.mixed_precision == "fp16")
    refuse("train.mixed_precision", "fp16", "A step that overflows could not be left out as a whole", "use bf16 or fp32");
  if (c.train.max_nan_skips > 0)
    refuse("train.max_nan_skips", fmt::format("{}", c.train.max_nan_skips), "A step whose gradient is no number could not be left out as a whole", "set it to 0");
  if (c.optimizer.name == "prodigy")
    refuse("optimizer.name", "prodigy", "It needs all gradients before the first weight changes", "take another optimizer, or set optimizer.fused_backward: false");
}

void check_bf16(Check& check) {
  const Config& c = check.config;
  if (c.train.dtype != "bfloat16") {
    if (c.optimizer.bf16_weights != "split")
      check.note("optimizer.bf16_weights", fmt::format("optimizer.bf16_weights = {} is not used", c.optimizer.bf16_weights), "The trained weights are float32",
                 "set train.dtype: bfloat16, or leave it out", "E7201");
    return;
  }
  if (c.train.mixed_precision != "bf16")
    check.note("train.mixed_precision", fmt::format("train.mixed_precision = {} does not go with train.dtype: bfloat16", c.train.mixed_precision),
               "Weights in bfloat16 are multiplied in it", "set train.mixed_precision: bf16, or train.dtype: float32", "E7201");
}

}  // namespace

std::vector<Error> check_optimizer(const Config& config) {
  Check check{config, {}};
  check_owners(check);
  check_learning_rate(check);
  check_fused_backward(check);
  check_bf16(check);
  return std::move(check.errors);
}

}  // namespace t2i
