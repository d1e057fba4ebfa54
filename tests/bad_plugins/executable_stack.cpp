// Linked with -z execstack.
#include "good.hpp"
T2I_PLUGIN("bad.executable_stack", "1.0.0", "MIT", t2i::loss<Good>("executable_stack", "a broken loss"))
