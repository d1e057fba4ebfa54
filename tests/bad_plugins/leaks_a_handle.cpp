// Retains a tensor at each call and never releases it.
#include "good.hpp"
struct Leaks : Good {
  using Good::Good;
  void compute(t2i::Named in, t2i::Sink out) {
    Good::compute(in, out);
    in["target"].give();
  }
};
T2I_PLUGIN("bad.leaks_a_handle", "1.0.0", "MIT", t2i::loss<Leaks>("leaks", "a broken loss"))
