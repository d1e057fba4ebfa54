// Rectified flow (Liu, Gong and Liu 2022, arXiv:2209.03003) as trained by Esser et al. 2024 (arXiv:2403.03206):
//   x_sigma = (1 - sigma) x_0 + sigma noise,   target = d x / d sigma = noise - x_0,   timestep = 1000 sigma.
// sigma is uniform on (0, 1], or logit-normal (eq. 19 there), then shifted towards noise (eq. 23):
//   sigma' = shift sigma / (1 + (shift - 1) sigma).
// A folder whose scheduler has use_dynamic_shifting is shifted by the picture's size: as there, shift = e^mu (or mu,
// where time_shift_type is linear), mu on the line through (base_image_seq_len, base_shift) and (max_image_seq_len,
// max_shift).
#include <t2i/schedule.hpp>

#include <optional>

struct DynamicShift {
  double slope, base;  // of mu over places
  bool exponential;
  int64_t patch;  // latents along one side of a place

  explicit DynamicShift(const t2i::Json& scheduler, int64_t patch_) : patch(patch_) {
    using t2i::scheduler_key;
    const double low = scheduler_key(scheduler, "base_shift", 0.5), high = scheduler_key(scheduler, "max_shift", 1.15);
    const double few = scheduler_key(scheduler, "base_image_seq_len", 256.0);
    const double many = scheduler_key(scheduler, "max_image_seq_len", 4096.0);
    if (!(many > few)) t2i::fail("scheduler_config.json: max_image_seq_len must be larger than base_image_seq_len");
    slope = (high - low) / (many - few), base = low - slope * few;
    exponential = scheduler_key<std::string>(scheduler, "time_shift_type", "exponential") == "exponential";
  }
  double operator()(const t2i::Tensor& latents) const {
    const double places = static_cast<double>((latents.size(2) / patch) * (latents.size(3) / patch));
    const double mu = slope * places + base;
    return exponential ? std::exp(mu) : mu;
  }
};

struct RectifiedFlow {
  bool logit_normal;
  double mean, std, shift;
  std::optional<DynamicShift> by_size;
  std::string description;

  RectifiedFlow(const t2i::Json& config, const t2i::Json& context)
      : logit_normal(config.at("weighting") == "logit_normal"), mean(config.at("mean")), std(config.at("std")) {
    t2i::Json scheduler = context.value("scheduler", t2i::Json::object());
    bool flow = t2i::scheduler_key<std::string>(scheduler, "_class_name", "").find("FlowMatch") != std::string::npos;
    double own = t2i::scheduler_key(scheduler, flow ? "shift" : "flow_shift", 1.0);
    shift = config.at("shift").is_null() ? own : config.at("shift").get<double>();
    const bool dynamic = flow && t2i::scheduler_key(scheduler, "use_dynamic_shifting", false);
    if (dynamic && config.at("shift").is_null())
      by_size.emplace(scheduler, context.value("latent", t2i::Json::object()).value("patch", int64_t{1}));
    t2i::Json keys = flow ? flow_keys() : multistep_keys();
    if (dynamic) keys.erase("shift");  // has no meaning there, and how pictures are drawn stays the folder's
    description = t2i::Json{{"scheduler", keys}}.dump();
  }
  const char* describe() const { return description.c_str(); }

  void draw(t2i::Named in, t2i::Sink out) {
    t2i::Rng rng{in["rng"]};
    t2i::Tensor sigma = logit_normal ? t2i::op<"sigmoid">({rng.normal("timesteps") * std + mean})
                                     : t2i::op<"rsub.Scalar">({rng.uniform("timesteps"), 1.0});  // (0, 1]
    const double s = by_size ? (*by_size)(in["latents"]) : shift;
    if (s != 1.0) sigma = sigma * s / (sigma * (s - 1.0) + 1.0);
    out.put("timesteps", sigma * 1000.0);
  }

  void prepare(t2i::Named in, t2i::Sink out) {
    t2i::Tensor x = in["latents"], noise = in["noise"];
    t2i::Tensor sigma = t2i::per_sample(in["timesteps"] / 1000.0, x);
    out.put("noisy", t2i::to(t2i::op<"rsub.Scalar">({sigma, 1.0}) * x + sigma * noise, x.dtype()));
    out.put("target", noise - x);
  }

  void compute(t2i::Named in, t2i::Sink out) {
    t2i::Tensor loss = t2i::squared_error(in["prediction"], in["target"]);
    out.put("loss_per_sample", loss);
    out.put("raw_loss_per_sample", loss);
  }

  t2i::Json flow_keys() const {
    return {{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"num_train_timesteps", 1000}, {"shift", shift}};
  }
  // Pipelines made for discrete schedulers ask for things that FlowMatchEulerDiscreteScheduler has not
  // (init_noise_sigma); the first-order multistep solver has them, and on flow sigmas one step of it is one Euler step.
  t2i::Json multistep_keys() const {
    return {{"_class_name", "DPMSolverMultistepScheduler"},
            {"prediction_type", "flow_prediction"},
            {"use_flow_sigmas", true},
            {"flow_shift", shift},
            {"algorithm_type", "dpmsolver++"},
            {"solver_order", 1},
            {"final_sigmas_type", "zero"},
            {"num_train_timesteps", 1000},
            // Spreads of a diffusion model's noise levels, which the folder's scheduler may have been set to.
            {"use_karras_sigmas", false},
            {"use_exponential_sigmas", false},
            {"use_beta_sigmas", false},
            {"use_lu_lambdas", false}};
  }
};

T2I_PLUGIN("t2i.loss.rectified_flow", "0.1.0", "Apache-2.0",
           t2i::loss<RectifiedFlow>("rectified_flow", "mean squared error of the predicted velocity from data to noise",
                                    R"({
  "weighting": {"type": "string", "default": "uniform", "enum": ["uniform", "logit_normal"], "description": "how timesteps are drawn"},
  "mean": {"type": "number", "default": 0, "description": "of the logit-normal draws"},
  "std": {"type": "number", "default": 1, "exclusiveMinimum": 0, "description": "of the logit-normal draws"},
  "shift": {"type": "number", "default": null, "exclusiveMinimum": 0, "description": "above 1 draws noisier timesteps; null: the folder's own, which may grow with the picture, else 1"}})"))
