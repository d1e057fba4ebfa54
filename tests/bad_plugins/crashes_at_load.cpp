// Writes through a null pointer as soon as its file is loaded.
#include "good.hpp"
__attribute__((constructor)) static void crash() {
  volatile int* nowhere = nullptr;
  *nowhere = 1;
}
T2I_PLUGIN("bad.crashes_at_load", "1.0.0", "MIT", t2i::loss<Good>("crashes_at_load", "a broken loss"))
