// Its describe() gives a list where an object is wanted.
#include "good.hpp"
struct DescribesNoObject : Good {
  using Good::Good;
  const char* describe() const { return "[]"; }
};
T2I_PLUGIN("bad.describes_no_object", "1.0.0", "MIT",
           t2i::loss<DescribesNoObject>("describes_no_object", "a broken loss"))
