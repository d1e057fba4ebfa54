// Names an op that this torch does not have.
#include "good.hpp"
struct OpOfTomorrow : Good {
  using Good::Good;
  void draw(t2i::Named in, t2i::Sink out) { out.put("timesteps", t2i::op<"sqrt_of_tomorrow">({schedule.draw(in)})); }
};
T2I_PLUGIN("bad.op_of_tomorrow", "1.0.0", "MIT", t2i::loss<OpOfTomorrow>("op_of_tomorrow", "a broken loss"))
