// Min-SNR weighting (Hang et al. 2023, arXiv:2303.09556), section 3.4: timesteps weighted as if x_0 were predicted with
// weight min(SNR_t, gamma), so that the easy ones (high SNR) do not drown the others. Over the predicted noise,
//   w_t = min(SNR_t, gamma) / SNR_t,   and over the velocity   w_t = min(SNR_t, gamma) / (SNR_t + 1).
#include <t2i/schedule.hpp>

struct MinSnr {
  t2i::DiscreteSchedule schedule;
  double gamma;
  std::string prediction_type, description;

  MinSnr(const t2i::Json& config, const t2i::Json& context)
      : schedule(context), gamma(config.at("gamma")), prediction_type(config.at("prediction_type")) {
    if (prediction_type == "auto") {
      prediction_type = t2i::scheduler_key<std::string>(schedule.keys(), "prediction_type", "epsilon");
      if (prediction_type == "flow_prediction") prediction_type = "epsilon";
    }
    if (prediction_type != "epsilon" && prediction_type != "v_prediction")
      t2i::fail("min_snr weighs epsilon or v_prediction; the scheduler's prediction_type is \"" + prediction_type +
                    "\". Set loss.prediction_type",
                T2I_E_UNSUPPORTED);
    description = schedule.describe(prediction_type.c_str());
  }
  const char* describe() const { return description.c_str(); }

  void draw(t2i::Named in, t2i::Sink out) { out.put("timesteps", schedule.draw(in)); }

  void prepare(t2i::Named in, t2i::Sink out) {
    out.put("noisy", schedule.add_noise(in));
    out.put("target", prediction_type == "epsilon" ? in["noise"] : schedule.velocity(in));
  }

  void compute(t2i::Named in, t2i::Sink out) {
    t2i::Tensor loss = t2i::squared_error(in["prediction"], in["target"]);
    out.put("loss_per_sample", loss * weight(schedule.snr(in["timesteps"])));
    out.put("raw_loss_per_sample", loss);
  }

  // Where SNR = 0 (a schedule with zero terminal SNR) gamma / SNR is infinite and the weight over the noise is 1.
  t2i::Tensor weight(const t2i::Tensor& snr) const {
    using t2i::op;
    if (prediction_type == "epsilon") return op<"clamp_max">({op<"reciprocal">({snr}) * gamma, 1.0});
    return op<"clamp_max">({snr, gamma}) / (snr + 1.0);
  }
};

T2I_PLUGIN("t2i.loss.min_snr", "0.1.0", "Apache-2.0",
           t2i::loss<MinSnr>("min_snr", "mean squared error, timesteps weighted by their clipped signal-to-noise ratio",
                             R"({
  "gamma": {"type": "number", "default": 5, "exclusiveMinimum": 0, "description": "the signal-to-noise ratio above which the weight falls"},
  "prediction_type": {"type": "string", "default": "auto", "enum": ["auto", "epsilon", "v_prediction"],
                      "description": "what the model predicts; auto: as the folder's scheduler says"}})"))
