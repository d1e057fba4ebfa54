// Of the LibTorch tier, for another LibTorch.
#include "good.hpp"
static constexpr t2i_component one = t2i::loss<Good>("wrong_torch", "a broken loss");
static constexpr const t2i_component* list[] = {&one, nullptr};
extern "C" const t2i_plugin* t2i_plugin_v1(void) {
  static constexpr t2i_plugin plugin{sizeof(t2i_plugin), T2I_ABI_MAJOR, T2I_ABI_MINOR, "bad.wrong_torch", "1.0.0", "MIT", "1.0.0+cpu", list, t2i::start};
  return &plugin;
}
__attribute__((used, section(".t2i_tag"))) static const char tag[] = "T2I-PLUGIN abi=0.2 torch=1.0.0+cpu id=bad.wrong_torch";
