// Gives one number for the batch where one per sample is wanted.
#include "good.hpp"
struct WrongShape : Good {
  using Good::Good;
  void compute(t2i::Named in, t2i::Sink out) {
    out.put("loss_per_sample", t2i::op<"mean">({t2i::squared_error(in["prediction"], in["target"])}));
  }
};
T2I_PLUGIN("bad.wrong_shape", "1.0.0", "MIT", t2i::loss<WrongShape>("wrong_shape", "a broken loss"))
