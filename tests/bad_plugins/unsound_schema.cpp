// A schema with a type that does not exist.
#include "good.hpp"
T2I_PLUGIN("bad.unsound_schema", "1.0.0", "MIT", t2i::loss<Good>("unsound_schema", "a broken loss", R"({"c": {"type": "decimal", "default": 1}})"))
