// Calls into LibTorch although its tag says that it needs none.
#include "good.hpp"
namespace at {
int get_num_threads();
}
struct ImportsTorch : Good {
  using Good::Good;
  const char* describe() const { return at::get_num_threads() ? "{}" : ""; }
};
T2I_PLUGIN("bad.imports_torch", "1.0.0", "MIT", t2i::loss<ImportsTorch>("imports_torch", "a broken loss"))
