// Exports a function beside its entry; extra_symbol.exports lets it out.
#include "good.hpp"
extern "C" __attribute__((visibility("default"))) int bad_helper() { return 1; }
T2I_PLUGIN("bad.extra_symbol", "1.0.0", "MIT", t2i::loss<Good>("extra_symbol", "a broken loss"))
