// Wants a function that nobody has.
#include "good.hpp"
extern "C" int t2i_bad_function_of_tomorrow();
struct MissingSymbol : Good {
  using Good::Good;
  const char* describe() const { return t2i_bad_function_of_tomorrow() ? "{}" : ""; }
};
T2I_PLUGIN("bad.missing_symbol", "1.0.0", "MIT", t2i::loss<MissingSymbol>("missing_symbol", "a broken loss"))
