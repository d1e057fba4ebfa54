#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "core/base/number_text.h"
#include "core/doctor/control_group.h"
#include "core/doctor/doctor.h"

namespace t2i {
namespace {

constexpr uint64_t little_bytes = 8'000'000'000;

// /proc/meminfo in bytes.
std::map<std::string, uint64_t> meminfo(const Machine& machine) {
  std::map<std::string, uint64_t> out;
  std::istringstream lines(machine.read("proc/meminfo"));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    uint64_t kib = 0;
    if (words >> name >> kib && name.ends_with(':')) out[name.substr(0, name.size() - 1)] = kib * 1024;
  }
  return out;
}

}  // namespace

void check_memory(const Machine& machine, Findings& findings) {
  std::map<std::string, uint64_t> info = meminfo(machine);
  const uint64_t all = info["MemTotal"], there = info["MemAvailable"], limit = memory_limit(machine);
  if (!all) return findings.push_back({"memory", Finding::warn, "/proc/meminfo cannot be read", "mount /proc in this container"});
  std::string text = fmt::format("{}, of which {} are available", bytes_text(all), bytes_text(there));
  const bool limited = limit && limit < all;
  if (limited) text += fmt::format("; the control group lets this process have {}", bytes_text(limit));
  const uint64_t usable = limited ? std::min(limit, there) : there;
  if (usable < little_bytes)
    findings.push_back({"memory", Finding::warn, text,
                        limited && limit < little_bytes ? "give the container more (docker run --memory, #SBATCH --mem), or look with t2i plan whether it is enough"
                                                        : "end other programs, or look with t2i plan whether it is enough"});
  else findings.push_back({"memory", Finding::ok, text, ""});
  if (auto as = machine.limits.find("as"); as != machine.limits.end())
    findings.push_back({"address space", Finding::warn, fmt::format("limited to {}; t2i reserves far more than it uses", bytes_text(as->second)), "ulimit -v unlimited"});
}

}  // namespace t2i
