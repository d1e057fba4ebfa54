// A loss of your own: pseudo-Huber, which forgives outliers. Built against the installed SDK alone.
#include <t2i/schedule.hpp>

struct PseudoHuber {
  t2i::DiscreteSchedule schedule;
  double c;

  PseudoHuber(const t2i::Json& config, const t2i::Json& context) : schedule(context), c(config.at("c")) {}
  const char* describe() const { return R"({"scheduler": {"prediction_type": "epsilon"}})"; }
  void draw(t2i::Named in, t2i::Sink out) { out.put("timesteps", schedule.draw(in)); }
  void prepare(t2i::Named in, t2i::Sink out) { out.put("noisy", schedule.add_noise(in)), out.put("target", in["noise"]); }
  void compute(t2i::Named in, t2i::Sink out) {
    t2i::Tensor d = t2i::as_float(in["prediction"]) - t2i::as_float(in["target"]);
    out.put("loss_per_sample", t2i::mean_per_sample(t2i::op<"sqrt">({d * d + c * c}) - c));
    out.put("raw_loss_per_sample", t2i::mean_per_sample(d * d));
  }
};
T2I_PLUGIN("org.example.pseudo_huber", "1.0.0", "MIT", t2i::loss<PseudoHuber>("pseudo_huber", "sqrt(d^2 + c^2) - c",
           R"({"c": {"type": "number", "default": 0.03, "exclusiveMinimum": 0, "description": "where it turns linear"}})"))
