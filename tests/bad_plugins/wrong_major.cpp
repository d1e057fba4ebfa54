// Built for a plugin interface that this core does not have.
#include "good.hpp"
static constexpr t2i_component one = t2i::loss<Good>("wrong_major", "a broken loss");
static constexpr const t2i_component* list[] = {&one, nullptr};
extern "C" const t2i_plugin* t2i_plugin_v1(void) {
  static constexpr t2i_plugin plugin{sizeof(t2i_plugin), 9, 0, "bad.wrong_major", "1.0.0", "MIT", nullptr, list, t2i::start};
  return &plugin;
}
__attribute__((used, section(".t2i_tag"))) static const char tag[] = "T2I-PLUGIN abi=9.0 torch=any id=bad.wrong_major";
