// t2i/schedule.hpp - the noise schedule of a model folder's scheduler_config.json, for losses.
//
// Discrete diffusion (Ho, Jain, Abbeel 2020, arXiv:2006.11239): x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t)
// noise. The table alpha_bar is made with the ops and in the order that diffusers' DDPMScheduler uses, so it has the
// same bits. Shapes: n = batch, T = num_train_timesteps; factors are [n,1,...,1], ready to multiply latents [n,C,h,w].
#pragma once
#include <t2i/t2i.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace t2i __attribute__((visibility("hidden"))) {

  // Half precision is raised to float32; float32 and float64 stay.
  inline Tensor as_float(const Tensor& x) {
    int32_t d = x.dtype();
    return d == T2I_F32 || d == T2I_F64 ? x : to(x, T2I_F32);
  }
  // The mean squared error of each sample, [n]; float32 whatever came in.
  inline Tensor squared_error(const Tensor& prediction, const Tensor& target) {
    Tensor d = as_float(prediction) - as_float(target);
    return mean_per_sample(d * d);
  }

  // A key of the scheduler's configuration, or what diffusers takes when it is absent.
  template <class T>
  T scheduler_key(const Json& scheduler, const char* key, T otherwise) {
    auto it = scheduler.find(key);
    if (it == scheduler.end() || it->is_null()) return otherwise;
    try {
      return it->get<T>();
    } catch (const Json::exception&) {
      fail(std::string("scheduler_config.json: ") + key + " = " + it->dump() + " is of the wrong type");
    }
  }

  // Is this the configuration of a flow-matching scheduler, which has no betas?
  inline bool is_flow_scheduler(const Json& scheduler) {
    return scheduler_key<std::string>(scheduler, "_class_name", "").find("FlowMatch") != std::string::npos ||
           scheduler_key<std::string>(scheduler, "prediction_type", "") == "flow_prediction";
  }

  // Keys that turn a flow scheduler's configuration into that of a discrete one: the schedule of Stable Diffusion 1.
  inline Json discrete_scheduler_keys() {
    return {{"_class_name", "DDIMScheduler"},   {"beta_start", 0.00085},       {"beta_end", 0.012},
            {"beta_schedule", "scaled_linear"}, {"num_train_timesteps", 1000}, {"clip_sample", false},
            {"set_alpha_to_one", false},        {"steps_offset", 1},           {"timestep_spacing", "leading"}};
  }

  namespace detail {
  // Nichol and Dhariwal 2021, arXiv:2102.09672, eq. 17; beta is capped at 0.999.
  inline Tensor cosine_betas(int64_t steps) {
    auto alpha_bar = [](double t) { return std::pow(std::cos((t + 0.008) / 1.008 * std::numbers::pi / 2), 2); };
    std::vector<float> betas;
    for (int64_t i = 0; i < steps; ++i) {
      double t1 = static_cast<double>(i) / static_cast<double>(steps),
             t2 = static_cast<double>(i + 1) / static_cast<double>(steps);
      betas.push_back(static_cast<float>(std::min(1 - alpha_bar(t2) / alpha_bar(t1), 0.999)));
    }
    return tensor(std::span<const float>(betas), std::array<int64_t, 1>{steps});
  }
  inline Tensor one_minus(const Tensor& x) { return op<"rsub.Scalar">({x, 1.0}); }
  inline Tensor first(const Tensor& x, int64_t count) { return op<"slice.Tensor">({x, 0, 0, count}); }
  // Lin et al. 2023, arXiv:2305.08891, algorithm 1: shift and scale sqrt(alpha_bar) so that the last one is zero.
  inline Tensor rescale_zero_terminal_snr(const Tensor& betas) {
    int64_t steps = betas.size(0);
    Tensor root = op<"sqrt">({op<"cumprod">({one_minus(betas), 0})});
    Tensor root_0 = first(root, 1), root_T = op<"slice.Tensor">({root, 0, steps - 1, steps});
    root = (root - root_T) * (root_0 / (root_0 - root_T));
    Tensor alpha_bar = op<"pow.Tensor_Scalar">({root, 2});
    Tensor later = op<"slice.Tensor">({alpha_bar, 0, 1, steps}) / first(alpha_bar, steps - 1);
    return one_minus(cat({first(alpha_bar, 1), later}, 0));
  }
  inline Tensor betas(const Json& s) {
    if (auto it = s.find("trained_betas"); it != s.end() && !it->is_null()) {
      auto list = scheduler_key<std::vector<float>>(s, "trained_betas", {});
      if (list.empty()) fail("scheduler_config.json: trained_betas is empty");
      return tensor(std::span<const float>(list), std::array<int64_t, 1>{static_cast<int64_t>(list.size())});
    }
    std::string kind = scheduler_key<std::string>(s, "beta_schedule", "linear");
    double start = scheduler_key(s, "beta_start", 0.0001), end = scheduler_key(s, "beta_end", 0.02);
    int64_t steps = scheduler_key<int64_t>(s, "num_train_timesteps", 1000);
    if (steps < 1 || steps > 1000000)
      fail("scheduler_config.json: num_train_timesteps = " + std::to_string(steps) + " is out of range");
    if (kind == "linear") return op<"linspace">({start, end, steps, Dtype{T2I_F32}});
    if (kind == "scaled_linear")
      return op<"pow.Tensor_Scalar">({op<"linspace">({std::sqrt(start), std::sqrt(end), steps, Dtype{T2I_F32}}), 2});
    if (kind == "squaredcos_cap_v2") return cosine_betas(steps);
    fail("scheduler_config.json: beta_schedule = \"" + kind +
             "\" is not known (linear, scaled_linear, squaredcos_cap_v2)",
         T2I_E_UNSUPPORTED);
  }
  }  // namespace detail

  // alpha_bar [T] float32 on the CPU.
  inline Tensor alphas_cumprod(const Json& scheduler) {
    Tensor betas = detail::betas(scheduler);
    if (scheduler_key(scheduler, "rescale_betas_zero_snr", false)) betas = detail::rescale_zero_terminal_snr(betas);
    return op<"cumprod">({detail::one_minus(betas), 0});
  }

  // The schedule as losses use it. One object serves one device: the table moves there with the first step.
  class DiscreteSchedule {
    Json keys_, changed_ = Json::object();  // changed_: what had to be replaced to have a discrete schedule at all
    Tensor table_;
    bool placed_ = false;

   public:
    // `context` is what a loss's create gets. A flow model's folder is read as Stable Diffusion 1's schedule.
    explicit DiscreteSchedule(const Json& context) : keys_(context.value("scheduler", Json::object())) {
      if (is_flow_scheduler(keys_)) changed_ = discrete_scheduler_keys();
      if (keys_.contains("use_flow_sigmas")) changed_["use_flow_sigmas"] = false;
      keys_.update(changed_);
      table_ = alphas_cumprod(keys_);
    }
    const Json& keys() const { return keys_; }
    int64_t steps() const { return table_.size(0); }

    // timesteps ~ U{0, ..., T-1}, [n] float32.
    Tensor draw(Named in) const {
      return op<"floor">({Rng{in["rng"]}.uniform("timesteps") * static_cast<double>(steps())});
    }
    // alpha_bar at each sample's timestep (rounded, kept within the table), float32 [n,1,...,1] like `like`.
    Tensor alpha_bar(const Tensor& timesteps, const Tensor& like) {
      // Only the device is the timesteps' own: their type may be an integer's.
      if (!placed_) table_ = op<"to.other">({table_, to(timesteps, T2I_F32)}), placed_ = true;
      Tensor index = op<"clamp">({op<"round">({timesteps}), 0, steps() - 1});
      return per_sample(op<"index_select">({table_, 0, to(index, T2I_I64)}), like);
    }
    // x_t of eq. 4 of arXiv:2006.11239, in the dtype of the latents.
    Tensor add_noise(Named in) {
      Tensor x = in["latents"], a = alpha_bar(in["timesteps"], x);
      return to(op<"sqrt">({a}) * x + op<"sqrt">({detail::one_minus(a)}) * in["noise"], x.dtype());
    }
    // v of Salimans and Ho 2022, arXiv:2202.00512: sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) x_0.
    Tensor velocity(Named in) {
      Tensor x = in["latents"], a = alpha_bar(in["timesteps"], x);
      return op<"sqrt">({a}) * in["noise"] - op<"sqrt">({detail::one_minus(a)}) * x;
    }
    // Signal to noise, alpha_bar / (1 - alpha_bar), [n].
    Tensor snr(const Tensor& timesteps) {
      Tensor a = alpha_bar(timesteps, timesteps);
      return op<"pow.Tensor_Scalar">({op<"sqrt">({a}) / op<"sqrt">({detail::one_minus(a)}), 2});
    }
    // What describe() says when a run trains `prediction_type`.
    std::string describe(const char* prediction_type) const {
      Json keys = changed_;
      keys["prediction_type"] = prediction_type;
      return Json{{"scheduler", std::move(keys)}}.dump();
    }
  };

}  // namespace )
