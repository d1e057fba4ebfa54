// Predict the noise: the simple objective of Ho, Jain and Abbeel 2020 (arXiv:2006.11239), eq. 14,
//   L = E || noise - model(sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise, t) ||^2.
#include <t2i/schedule.hpp>

struct Epsilon {
  t2i::DiscreteSchedule schedule;
  std::string description = schedule.describe("epsilon");

  Epsilon(const t2i::Json&, const t2i::Json& context) : schedule(context) {}
  const char* describe() const { return description.c_str(); }

  void draw(t2i::Named in, t2i::Sink out) { out.put("timesteps", schedule.draw(in)); }

  void prepare(t2i::Named in, t2i::Sink out) {
    out.put("noisy", schedule.add_noise(in));
    out.put("target", in["noise"]);
  }

  void compute(t2i::Named in, t2i::Sink out) {
    t2i::Tensor loss = t2i::squared_error(in["prediction"], in["target"]);
    out.put("loss_per_sample", loss);
    out.put("raw_loss_per_sample", loss);
  }
};

T2I_PLUGIN("t2i.loss.epsilon", "0.1.0", "Apache-2.0",
           t2i::loss<Epsilon>("epsilon", "mean squared error of the predicted noise"))
