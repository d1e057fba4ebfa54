// Predict the velocity of Salimans and Ho 2022 (arXiv:2202.00512), appendix D,
//   v = sqrt(alpha_bar_t) noise - sqrt(1 - alpha_bar_t) x_0,
// which is as informative at t = T as at t = 0.
#include <t2i/schedule.hpp>

struct VPrediction {
  t2i::DiscreteSchedule schedule;
  std::string description = schedule.describe("v_prediction");

  VPrediction(const t2i::Json&, const t2i::Json& context) : schedule(context) {}
  const char* describe() const { return description.c_str(); }

  void draw(t2i::Named in, t2i::Sink out) { out.put("timesteps", schedule.draw(in)); }

  void prepare(t2i::Named in, t2i::Sink out) {
    out.put("noisy", schedule.add_noise(in));
    out.put("target", schedule.velocity(in));
  }

  void compute(t2i::Named in, t2i::Sink out) {
    t2i::Tensor loss = t2i::squared_error(in["prediction"], in["target"]);
    out.put("loss_per_sample", loss);
    out.put("raw_loss_per_sample", loss);
  }
};

T2I_PLUGIN("t2i.loss.v_prediction", "0.1.0", "Apache-2.0",
           t2i::loss<VPrediction>("v_prediction", "mean squared error of the predicted velocity"))
