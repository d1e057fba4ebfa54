// Ends the whole process when it does not like a tensor.
#include <cstdlib>

#include "good.hpp"
struct Exits : Good {
  using Good::Good;
  void compute(t2i::Named in, t2i::Sink out) {
    if (in["prediction"].shape().size() != 4) std::_Exit(3);
    Good::compute(in, out);
  }
};
T2I_PLUGIN("bad.exits", "1.0.0", "MIT", t2i::loss<Exits>("exits", "a broken loss"))
