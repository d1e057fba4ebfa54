// Says something of its own when the core could not do what it was asked: nobody learns what it was.
#include "good.hpp"
struct ChangesTheText : Good {
  using Good::Good;
  void compute(t2i::Named in, t2i::Sink out) try {
    Good::compute(in, out);
  } catch (const t2i::Error&) {
    t2i::fail("something went wrong");
  }
};
T2I_PLUGIN("bad.changes_the_text", "1.0.0", "MIT", t2i::loss<ChangesTheText>("changes_the_text", "a broken loss"))
