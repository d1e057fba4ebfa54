// Has no compute().
#include "good.hpp"
static constexpr t2i_loss table = spoiled([](t2i_loss& t) { t.compute = nullptr; });
T2I_PLUGIN("bad.missing_function", "1.0.0", "MIT", component("missing_function", table))
