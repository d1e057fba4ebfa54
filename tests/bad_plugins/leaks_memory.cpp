// Takes plain memory with each object and never gives it back: no tensor handle tells.
#include "good.hpp"
struct LeaksMemory : Good {
  char* scratch = new char[100];
  using Good::Good;
};
T2I_PLUGIN("bad.leaks_memory", "1.0.0", "MIT", t2i::loss<LeaksMemory>("leaks_memory", "a broken loss"))
