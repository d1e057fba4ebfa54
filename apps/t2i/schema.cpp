#include <cstdio>

#include "apps/t2i/options.h"
#include "core/config/config.h"

namespace t2i {

int schema_command(const Command& self, const std::vector<std::string>& arguments) {
  Options options(self);
  if (!options.parse(arguments)) return 0;
  std::puts(json_schema().dump(2).c_str());
  return 0;
}

}  // namespace t2i
