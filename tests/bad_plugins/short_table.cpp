// Its table of functions ends before compute().
#include "good.hpp"
static constexpr t2i_loss table = spoiled([](t2i_loss& t) { t.size = offsetof(t2i_loss, compute); });
T2I_PLUGIN("bad.short_table", "1.0.0", "MIT", component("short_table", table))
