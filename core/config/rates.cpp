#include "core/config/rates.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/config/optimizer_check.h"

namespace t2i {
namespace {

// A text encoder with a key of its own; the others go by optimizer.text_encoder_lr.
struct OwnRate {
  const char *part, *key;
  std::optional<double> OptimizerConfig::*field;
};
constexpr std::array<OwnRate, 2> own_rates = {{
    {"text_encoder_2", "optimizer.text_encoder_2_lr", &OptimizerConfig::text_encoder_2_lr},
    {"text_encoder_3", "optimizer.text_encoder_3_lr", &OptimizerConfig::text_encoder_3_lr},
}};
constexpr const char *all_encoders = "optimizer.text_encoder_lr", *denoiser = "optimizer.transformer_lr";

struct Asked {
  std::string key;  // that decides
  double rate;
};

Asked rate_of(const OptimizerConfig& o, const std::string& part) {
  for (const OwnRate& own : own_rates)
    if (own.part == part && o.*own.field) return {own.key, *(o.*own.field)};
  if (o.text_encoder_lr) return {all_encoders, *o.text_encoder_lr};
  return {"optimizer.learning_rate", learning_rate_of(o)};
}

bool any_is_set(const OptimizerConfig& o) {
  return o.transformer_lr || o.text_encoder_lr || std::ranges::any_of(own_rates, [&](const OwnRate& own) { return (o.*own.field).has_value(); });
}

struct Check {
  const Config& config;
  const OptimizerConfig& o;
  const std::vector<std::string>& trained;
  const char* list;  // the key that names them
  std::vector<Error> errors;

  void note(const std::string& key, std::string what, std::string why, std::string todo, std::string id) {
    auto found = config.positions.find(key);
    errors.push_back({found == config.positions.end() ? key : found->second, std::move(what), std::move(why), std::move(todo), std::move(id), Exit::config});
  }

  // What nobody is trained with would silently do nothing.
  void unused() {
    const bool wanted = std::ranges::any_of(trained, [&](const std::string& part) { return rate_of(o, part).key == all_encoders; });
    if (o.text_encoder_lr && !wanted)
      note(all_encoders, fmt::format("{} = {} is not used", all_encoders, *o.text_encoder_lr),
           trained.empty() ? "No text encoder is trained" : "Each text encoder that is trained has a rate of its own",
           trained.empty() ? fmt::format("name those to train in {}, as {}: [text_encoder], or leave it out", list, list) : "leave it out", "E7320");
    for (const OwnRate& own : own_rates)
      if (o.*own.field && !std::ranges::count(trained, own.part))
        note(own.key, fmt::format("{} = {} is not used", own.key, *(o.*own.field)), fmt::format("{} is not trained", own.part),
             fmt::format("name it in {}, or leave the rate out", list), "E7320");
  }

  void without_rates(const char* key, const std::optional<double>& rate) {
    if (rate && *rate > 0)
      note(key, fmt::format("{} = {} is not used", key, *rate), "With adafactor_relative_step the step's size follows from its number",
           "set optimizer.adafactor_relative_step: false, or leave it out", "E7201");
  }

  void optimizers() {
    if (learning_rates_are_relative(o)) {
      without_rates(denoiser, o.transformer_lr);
      without_rates(all_encoders, o.text_encoder_lr);
      for (const OwnRate& own : own_rates) without_rates(own.key, o.*own.field);
    }
    if (o.name != "prodigy" || trained.empty()) return;
    const double first = leading_rate(config);
    for (const std::string& part : trained)
      if (Asked asked = rate_of(o, part); asked.rate > 0 && asked.rate != first)
        return note(asked.key, fmt::format("{} = {} beside a rate of {} does not go with prodigy", asked.key, asked.rate, first),
                    "It learns one step size for all weights that it trains", "give every part the same rate, or take another optimizer", "E7321");
  }

  void zeros() {
    if (!any_is_set(o)) return;  // a learning rate of 0 for everything is a run that only measures
    if (!denoiser_is_frozen(config) && denoiser_rate(o) == 0)
      note("optimizer.learning_rate", "optimizer.learning_rate = 0 is the denoiser's rate, too", "It would be trained without ever moving",
           fmt::format("set {}: 0 to leave the denoiser as it is", denoiser), "E7322");
    for (const std::string& part : trained)
      if (Asked asked = rate_of(o, part); asked.rate == 0)
        note(asked.key, fmt::format("{} = 0, and {} is to be trained", asked.key, part), "It would be trained without ever moving",
             fmt::format("raise it, or leave {} out of {}", part, list), "E7322");
    if (!denoiser_is_frozen(config)) return;
    auto frozen = [&](const char* key, const std::string& what, const std::string& todo) {
      note(key, what, fmt::format("With {} = 0 the denoiser stays as it is", denoiser), todo, "E7322");
    };
    if (trained.empty()) frozen(denoiser, "nothing is left to train", fmt::format("name text encoders in {}, or leave it out", list));
    if (!config.train.parameters.empty()) frozen("train.parameters", "train.parameters names weights of the denoiser", "leave one of them out");
    if (config.lora.rank && config.lora.targets != LoraConfig().targets)
      frozen("lora.targets", "lora.targets names layers of the denoiser", "leave one of them out");
  }

  void adapters() {
    if (!config.lora.rank || config.train.text_encoders.empty()) return;
    note("train.text_encoders", "train.text_encoders and lora.rank exclude each other", "Beside an adapter text encoders are adapted too, not trained in full",
         "name them in lora.text_encoders, or leave lora out", "E7323");
  }
};

}  // namespace

const std::vector<std::string>& trained_text_encoders(const Config& config) {
  return config.lora.rank ? config.lora.text_encoders : config.train.text_encoders;
}

bool denoiser_is_frozen(const Config& config) { return config.optimizer.transformer_lr == 0.0; }

double denoiser_rate(const OptimizerConfig& o) { return o.transformer_lr ? *o.transformer_lr : learning_rate_of(o); }

double text_encoder_rate(const OptimizerConfig& o, const std::string& part) { return rate_of(o, part).rate; }

double leading_rate(const Config& config) {
  const std::vector<std::string>& trained = trained_text_encoders(config);
  return denoiser_is_frozen(config) && !trained.empty() ? text_encoder_rate(config.optimizer, trained.front()) : denoiser_rate(config.optimizer);
}

std::vector<std::pair<std::string, double>> part_rates(const Config& config, const std::string& denoiser_name) {
  std::vector<std::pair<std::string, double>> rates;
  const std::vector<std::string>& trained = trained_text_encoders(config);
  if (trained.empty()) return rates;
  if (!denoiser_is_frozen(config)) rates.emplace_back(denoiser_name, denoiser_rate(config.optimizer));
  for (const std::string& part : trained) rates.emplace_back(part, text_encoder_rate(config.optimizer, part));
  return rates;
}

std::vector<Error> check_rates(const Config& config) {
  Check check{config, config.optimizer, trained_text_encoders(config), config.lora.rank ? "lora.text_encoders" : "train.text_encoders", {}};
  check.adapters();
  if (!check.errors.empty()) return std::move(check.errors);  // which list counts is not clear
  check.unused();
  check.optimizers();
  check.zeros();
  return std::move(check.errors);
}

}  // namespace t2i
