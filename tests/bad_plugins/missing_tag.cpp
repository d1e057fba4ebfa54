// No .t2i_tag section.
#include "good.hpp"
static constexpr t2i_component one = t2i::loss<Good>("missing_tag", "a broken loss");
static constexpr const t2i_component* list[] = {&one, nullptr};
extern "C" const t2i_plugin* t2i_plugin_v1(void) {
  static constexpr t2i_plugin plugin{sizeof(t2i_plugin), T2I_ABI_MAJOR, T2I_ABI_MINOR, "bad.missing_tag", "1.0.0", "MIT", nullptr, list, t2i::start};
  return &plugin;
}
