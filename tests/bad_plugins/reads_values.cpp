// Waits for the device in every step to look at a value.
#include "good.hpp"
struct ReadsValues : Good {
  using Good::Good;
  void compute(t2i::Named in, t2i::Sink out) {
    double value = 0;
    t2i::check(t2i::tensors->item(t2i::op<"sum">({in["target"]}).get(), &value));
    Good::compute(in, out);
  }
};
T2I_PLUGIN("bad.reads_values", "1.0.0", "MIT", t2i::loss<ReadsValues>("reads_values", "a broken loss"))
