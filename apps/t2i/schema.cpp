#include <cstdio>

#include "apps/t2i/options.h"
#include "apps/t2i/schema.h"

namespace t2i {

nlohmann::ordered_json schema_of(const Catalog& catalog) {
  std::vector<KnownComponent> known;
  for (const Offer& o : catalog.offers) known.push_back({key_of_kind(o.kind), o.id, o.doc, o.options});
  return json_schema(known);
}

int schema_command(const Command& self, const std::vector<std::string>& arguments) {
  Options options(self);
  options.add_list("plugin-path", "PATH", "a plugin library, or a folder of them, besides the built-in ones");
  if (!options.parse(arguments)) return 0;
  std::puts(schema_of(read_catalog(options.texts("plugin-path"))).dump(2).c_str());
  return 0;
}

}  // namespace t2i
