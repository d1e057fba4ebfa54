// Lets an exception out over the boundary instead of turning it into a code.
#include "good.hpp"
static constexpr t2i_loss table = spoiled([](t2i_loss& t) {
  t.compute = [](void*, const t2i_named*, uint32_t, const t2i_sink*) -> int32_t { throw std::runtime_error("over the fence"); };
});
T2I_PLUGIN("bad.throws", "1.0.0", "MIT", component("throws", table))
