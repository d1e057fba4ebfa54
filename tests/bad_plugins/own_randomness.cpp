// Draws from torch's global generator: a resumed run would differ.
#include "good.hpp"
struct OwnRandomness : Good {
  using Good::Good;
  void draw(t2i::Named in, t2i::Sink out) {
    out.put("timesteps", t2i::op<"rand">({{in["latents"].size(0)}}) * 999.0);
  }
};
T2I_PLUGIN("bad.own_randomness", "1.0.0", "MIT", t2i::loss<OwnRandomness>("own_randomness", "a broken loss"))
