// Refuses a broken configuration, but says nothing of it.
#include "good.hpp"
static constexpr t2i_loss table = spoiled([](t2i_loss& t) {
  t.create = [](const char* config, const char* context, void** self) -> int32_t {
    int32_t code = t2i::detail::loss_vtable<Good>.create(config, context, self);
    return code ? t2i::host->fail(t2i::host, code, "") : code;
  };
});
T2I_PLUGIN("bad.silent_about_its_config", "1.0.0", "MIT", component("silent_about_its_config", table))
