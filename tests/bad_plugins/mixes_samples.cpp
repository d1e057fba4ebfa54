// Lets the samples of a batch leak into each other.
#include "good.hpp"
struct MixesSamples : Good {
  using Good::Good;
  void compute(t2i::Named in, t2i::Sink out) {
    t2i::Tensor loss = t2i::squared_error(in["prediction"], in["target"]);
    out.put("loss_per_sample", loss / t2i::op<"mean">({loss}));
  }
};
T2I_PLUGIN("bad.mixes_samples", "1.0.0", "MIT", t2i::loss<MixesSamples>("mixes_samples", "a broken loss"))
