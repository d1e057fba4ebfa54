// A default that its own constructor refuses.
#include "good.hpp"
struct RefusesItsDefaults : Good {
  RefusesItsDefaults(const t2i::Json& config, const t2i::Json& context) : Good(config, context) {
    if (config.at("c") <= 0) t2i::fail("c must be above 0");
  }
};
T2I_PLUGIN("bad.refuses_its_defaults", "1.0.0", "MIT",
           t2i::loss<RefusesItsDefaults>("refuses_its_defaults", "a broken loss", R"({"c": {"type": "number", "default": 0}})"))
