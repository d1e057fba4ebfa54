// A value without fault whose gradient is 0 * infinity: the square root of zero, multiplied away.
#include "good.hpp"
struct NanGradient : Good {
  using Good::Good;
  void compute(t2i::Named in, t2i::Sink out) {
    t2i::Tensor p = in["prediction"], nothing = t2i::op<"sqrt">({p * 0.0});
    out.put("loss_per_sample", t2i::squared_error(p, in["target"]) + t2i::mean_per_sample(nothing));
  }
};
T2I_PLUGIN("bad.nan_gradient", "1.0.0", "MIT", t2i::loss<NanGradient>("nan_gradient", "a broken loss"))
