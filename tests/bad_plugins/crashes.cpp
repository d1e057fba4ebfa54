// Writes through a null pointer when a tensor is missing.
#include "good.hpp"
static constexpr t2i_loss table = spoiled([](t2i_loss& t) {
  t.compute = [](void* self, const t2i_named* in, uint32_t n, const t2i_sink* out) -> int32_t {
    volatile int* nowhere = nullptr;
    if (n < 2) *nowhere = 1;
    return t2i::detail::loss_vtable<Good>.compute(self, in, n, out);
  };
});
T2I_PLUGIN("bad.crashes", "1.0.0", "MIT", component("crashes", table))
