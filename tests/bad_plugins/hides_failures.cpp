// Goes on as if nothing had happened when the core could not do what it was asked.
#include "good.hpp"
struct HidesFailures : Good {
  using Good::Good;
  void draw(t2i::Named in, t2i::Sink out) {
    try {
      Good::draw(in, out);
    } catch (...) {
      out.put("timesteps", in["latents"]);
    }
  }
};
T2I_PLUGIN("bad.hides_failures", "1.0.0", "MIT", t2i::loss<HidesFailures>("hides_failures", "a broken loss"))
