#include "core/doctor/doctor.h"

#include <fmt/format.h>

#include <algorithm>

namespace t2i {
namespace {

const char* name_of(Finding::State state) { return state == Finding::ok ? "ok" : state == Finding::warn ? "warn" : "fail"; }
const char* colour_of(Finding::State state) { return state == Finding::ok ? "32" : state == Finding::warn ? "33" : "31"; }

}  // namespace

Findings examine(const Machine& machine) {
  Findings findings;
  for (auto* check : {check_processor, check_memory, check_gpus, check_storage, check_plugins, check_network, check_terminal}) check(machine, findings);
  return findings;
}

std::string to_text(const Findings& findings, bool colour) {
  size_t width = 0;
  for (const Finding& f : findings) width = std::max(width, f.check.size());
  std::string out;
  for (const Finding& f : findings) {
    const std::string state = fmt::format("{:<4}", name_of(f.state));
    out += fmt::format("{}  {:<{}}  {}\n", colour ? fmt::format("\x1b[{}m{}\x1b[0m", colour_of(f.state), state) : state, f.check, width, printable(f.text));
    if (!f.fix.empty()) out += fmt::format("{:{}}→ {}\n", "", width + 8, printable(f.fix));
  }
  return out;
}

nlohmann::ordered_json to_json(const Findings& findings) {
  Finding::State worst = Finding::ok;
  nlohmann::ordered_json checks = nlohmann::ordered_json::array();
  for (const Finding& f : findings) {
    worst = std::max(worst, f.state);
    nlohmann::ordered_json one;
    one["check"] = f.check, one["state"] = name_of(f.state), one["text"] = f.text, one["fix"] = f.fix;
    checks.push_back(one);
  }
  nlohmann::ordered_json out;
  out["worst"] = name_of(worst);
  out["checks"] = checks;
  return out;
}

}  // namespace t2i
