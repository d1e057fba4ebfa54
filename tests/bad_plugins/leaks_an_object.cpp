// destroy() forgets the object, and the tensors it holds.
#include "good.hpp"
static constexpr t2i_loss table = spoiled([](t2i_loss& t) { t.destroy = [](void*) {}; });
T2I_PLUGIN("bad.leaks_an_object", "1.0.0", "MIT", component("leaks_an_object", table))
