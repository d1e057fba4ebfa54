#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/doctor/doctor.h"

namespace t2i {

void check_plugins(const Machine& machine, Findings& findings) {
  const Catalog& catalog = machine.catalog;
  std::vector<std::string> places;
  for (const auto& place : catalog.places) places.push_back(place.string());
  if (!catalog.libraries)
    findings.push_back({"plugins", Finding::fail, "none is found", "build or install t2i again: they lie in lib/t2i beside bin"});
  else
    findings.push_back({"plugins", Finding::ok,
                        fmt::format("{} of interface {} in {}: {}", catalog.libraries, catalog.interface, fmt::join(places, ", "), fmt::join(catalog.ids("model"), ", ")), ""});
  for (const Error& e : catalog.refused)
    findings.push_back({"plugin", Finding::fail, fmt::format("{}: {}{}", e.where, e.what, e.why.empty() ? "" : ". " + e.why), e.todo});
  if (!catalog.refused.empty()) return;  // the engine says the same of them
  for (const std::string& refused : machine.engine.refused)
    findings.push_back({"plugin", Finding::fail, refused, "t2i plugins check shows all that is wrong with one"});
}

}  // namespace t2i
