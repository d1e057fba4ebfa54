// Offers two losses of one name.
#include "good.hpp"
T2I_PLUGIN("bad.duplicate_id", "1.0.0", "MIT", t2i::loss<Good>("twin", "a broken loss"), t2i::loss<Good>("twin", "a broken loss"))
