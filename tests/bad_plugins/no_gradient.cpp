// Cuts the loss off from the prediction.
#include "good.hpp"
struct NoGradient : Good {
  using Good::Good;
  void compute(t2i::Named in, t2i::Sink out) {
    out.put("loss_per_sample", t2i::squared_error(t2i::op<"detach">({in["prediction"]}), in["target"]));
  }
};
T2I_PLUGIN("bad.no_gradient", "1.0.0", "MIT", t2i::loss<NoGradient>("no_gradient", "a broken loss"))
