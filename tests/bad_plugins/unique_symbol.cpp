// A process-wide object: compiled without -fno-gnu-unique, linked without the version script.
#include "good.hpp"
template <class T>
struct __attribute__((visibility("default"))) Counter {
  static int& count() {
    static int n = 0;
    return n;
  }
};
extern "C" __attribute__((visibility("default"))) int* bad_counter() { return &Counter<int>::count(); }
T2I_PLUGIN("bad.unique_symbol", "1.0.0", "MIT", t2i::loss<Good>("unique_symbol", "a broken loss"))
