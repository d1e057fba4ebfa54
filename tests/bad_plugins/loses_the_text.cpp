// Fails without a word.
#include "good.hpp"
static constexpr t2i_loss table = spoiled([](t2i_loss& t) {
  t.prepare = [](void* self, const t2i_named* in, uint32_t n, const t2i_sink* out) -> int32_t {
    return n < 3 ? T2I_E_MISSING : t2i::detail::loss_vtable<Good>.prepare(self, in, n, out);
  };
});
T2I_PLUGIN("bad.loses_the_text", "1.0.0", "MIT", component("loses_the_text", table))
