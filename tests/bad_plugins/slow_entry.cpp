// Works for 200 ms of processor time as soon as its file is loaded, before anybody asked for anything.
#include <ctime>

#include "good.hpp"
__attribute__((constructor)) static void warm_up() {
  const std::clock_t start = std::clock();
  while (std::clock() - start < CLOCKS_PER_SEC / 5) {
  }
}
T2I_PLUGIN("bad.slow_entry", "1.0.0", "MIT", t2i::loss<Good>("slow_entry", "a broken loss"))
