#include "core/generate/schedule.h"

#include <cmath>
#include <numbers>

namespace t2i {

namespace {

std::vector<float> to_vector(const at::Tensor& values) {
  at::Tensor flat = values.contiguous();
  return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
}

// β from a function of ᾱ over [0, 1] (Nichol and Dhariwal 2021, eq. 17), capped before the singularity at the end.
at::Tensor betas_for(double (*alpha_bar)(double), int64_t steps) {
  at::Tensor betas = at::empty({steps}, at::kFloat);
  double n = static_cast<double>(steps);
  for (int64_t i = 0; i < steps; ++i) {
    double before = alpha_bar(static_cast<double>(i) / n), after = alpha_bar(static_cast<double>(i + 1) / n);
    betas.data_ptr<float>()[i] = static_cast<float>(std::min(1 - after / before, 0.999));
  }
  return betas;
}

double cosine_alpha_bar(double t) {
  double c = std::cos((t + 0.008) / 1.008 * std::numbers::pi / 2);
  return c * c;
}

double laplace_alpha_bar(double t) {
  double lambda = -0.5 * std::copysign(1.0, 0.5 - t) * std::log(1 - 2 * std::fabs(0.5 - t) + 1e-6), snr = std::exp(lambda);
  return std::sqrt(snr / (1 + snr));
}

// β rescaled so that nothing of the picture is left at the last timestep (Lin et al. 2024, algorithm 1).
at::Tensor with_zero_terminal_snr(const at::Tensor& betas) {
  at::Tensor root = (1.0 - betas).cumprod(0).sqrt();
  at::Tensor first = root[0].clone(), last = root[-1].clone();
  root = (root - last) * (first / (first - last));
  at::Tensor alpha_bar = root.pow(2);
  at::Tensor alphas = at::cat({alpha_bar.slice(0, 0, 1), alpha_bar.slice(0, 1) / alpha_bar.slice(0, 0, -1)});
  return 1 - alphas;
}

at::Tensor betas_of(SchedulerFile& file, int64_t& steps, std::string& kind) {
  kind = file.choice("beta_schedule", "linear", {"linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"});
  double start = file.number("beta_start", 0.0001), end = file.number("beta_end", 0.02);
  std::vector<double> trained = file.numbers("trained_betas");
  if (!trained.empty()) {
    if (steps != static_cast<int64_t>(trained.size())) {
      file.refuse("num_train_timesteps", "trained_betas has " + std::to_string(trained.size()) + " values",
                  "make the two agree");
      steps = static_cast<int64_t>(trained.size());
    }
    return at::tensor(at::ArrayRef<double>(trained), at::kDouble).to(at::kFloat);
  }
  if (!(start > 0 && start < 1)) file.refuse("beta_start", "It must lie between 0 and 1", "correct it"), start = 0.0001;
  if (!(end >= start && end < 1)) file.refuse("beta_end", "It must lie between beta_start and 1", "correct it"), end = 0.02;
  if (kind == "scaled_linear") return at::linspace(std::sqrt(start), std::sqrt(end), steps, at::kFloat).pow(2);
  if (kind == "squaredcos_cap_v2") return betas_for(cosine_alpha_bar, steps);
  if (kind == "laplace") return betas_for(laplace_alpha_bar, steps);
  if (kind == "sigmoid") return at::linspace(-6, 6, steps, at::kFloat).sigmoid() * (end - start) + start;
  return at::linspace(start, end, steps, at::kFloat);
}

// The words that scheduler_config.json has for what the network predicts.
Prediction prediction_of(const std::string& word) {
  if (word == "sample") return Prediction::clean;
  if (word == "v_prediction") return Prediction::velocity;
  if (word == "flow_prediction") return Prediction::flow;
  return Prediction::noise;
}

}  // namespace

NoiseSchedule read_noise_schedule(SchedulerFile& file, const ScheduleDefaults& defaults) {
  NoiseSchedule schedule;
  schedule.file = file.path();
  schedule.train_timesteps = file.integer("num_train_timesteps", 1000, 1, 1'000'000);

  std::string kind;
  at::Tensor betas = betas_of(file, schedule.train_timesteps, kind);
  schedule.cosine = kind == "squaredcos_cap_v2";
  bool zero_snr = defaults.zero_snr && file.flag("rescale_betas_zero_snr", false);
  if (zero_snr) betas = with_zero_terminal_snr(betas);
  schedule.alpha_bar = to_vector((1.0 - betas).cumprod(0));
  if (zero_snr && defaults.zero_snr_floor) schedule.alpha_bar.back() = 0x1p-24f;

  schedule.prediction = prediction_of(file.choice("prediction_type", "epsilon", defaults.predictions));

  const std::vector<std::string> spacings = {"leading", "trailing", "linspace"};  // in the order of Spacing
  std::string spacing = file.choice("timestep_spacing", spacings[static_cast<size_t>(defaults.spacing)], spacings);
  schedule.spacing = spacing == "leading"    ? Spacing::leading
                     : spacing == "trailing" ? Spacing::trailing
                                             : Spacing::linspace;
  schedule.steps_offset = file.integer("steps_offset", 0, 0, schedule.train_timesteps - 1);
  return schedule;
}

float alpha_bar_at(const NoiseSchedule& schedule, int64_t timestep) {
  if (timestep < 0 || timestep >= schedule.train_timesteps)
    fail({schedule.file, "the steps asked for lead to timestep " + std::to_string(timestep) + ", past the last of " + std::to_string(schedule.train_timesteps),
          "steps_offset shifts every timestep up", "ask for fewer --steps", "E6004", Exit::config});
  return schedule.alpha_bar[static_cast<size_t>(timestep)];
}

void refuse_blind_start(const SchedulerFile& file, const NoiseSchedule& schedule, double first_timestep) {
  if (schedule.prediction != Prediction::noise || alpha_bar_at(schedule, static_cast<int64_t>(first_timestep)) > 0) return;
  SchedulerFile copy = file;
  copy.refuse("rescale_betas_zero_snr",
              "The first timestep is then pure noise, from which a network that predicts noise cannot find a picture",
              "set it to false, or timestep_spacing to leading; or use a model with another prediction_type");
  copy.check();
}

std::vector<float> sigmas_of(const NoiseSchedule& schedule) {
  std::vector<float> sigmas;
  for (float a : schedule.alpha_bar) sigmas.push_back(std::sqrt((1 - a) / a));
  return sigmas;
}

}  // namespace t2i
