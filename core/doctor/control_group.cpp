#include "core/doctor/control_group.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <sstream>

namespace t2i {
namespace {

// Version 1 says "no limit" by the largest multiple of a page.
constexpr uint64_t no_limit = uint64_t{1} << 60;

uint64_t number(const std::string& text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// The process's group of a version 1 controller, or of version 2 (`controller` ""), as /proc/self/cgroup has it.
std::string group_of(const Machine& machine, const std::string& controller) {
  std::istringstream lines(machine.read("proc/self/cgroup"));
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::string names = "," + line.substr(first + 1, second - first - 1) + ",";
    if (controller.empty() ? names == ",," : names.find("," + controller + ",") != std::string::npos) return line.substr(second + 1);
  }
  return "/";
}

// Calls `visit` with the folder of the group and of each above it. A container often sees its own group as the top.
void upwards(const Machine& machine, const std::string& mount, const std::string& controller, const std::function<void(const std::string&)>& visit) {
  std::string group = group_of(machine, controller);
  while (true) {
    visit(mount + (group == "/" ? "" : group));
    if (group.empty() || group == "/") return;
    group = group.substr(0, group.rfind('/'));
  }
}

}  // namespace

uint64_t memory_limit(const Machine& machine) {
  uint64_t least = no_limit;
  auto take = [&](const std::string& text) {
    if (const uint64_t value = number(text); value) least = std::min(least, value);  // "max" is no number
  };
  upwards(machine, "sys/fs/cgroup", "", [&](const std::string& folder) { take(machine.read(folder + "/memory.max")); });
  upwards(machine, "sys/fs/cgroup/memory", "memory", [&](const std::string& folder) { take(machine.read(folder + "/memory.limit_in_bytes")); });
  return least == no_limit ? 0 : least;
}

double processor_quota(const Machine& machine) {
  double least = 0;
  auto take = [&](const std::string& quota, const std::string& period) {
    const auto q = static_cast<double>(number(quota)), p = static_cast<double>(number(period));  // "max" and "-1" are no numbers
    if (q > 0 && p > 0 && (least == 0 || q / p < least)) least = q / p;
  };
  upwards(machine, "sys/fs/cgroup", "", [&](const std::string& folder) {
    std::istringstream words(machine.read(folder + "/cpu.max"));
    std::string quota, period;
    if (words >> quota >> period) take(quota, period);
  });
  upwards(machine, "sys/fs/cgroup/cpu", "cpu", [&](const std::string& folder) {
    take(machine.read(folder + "/cpu.cfs_quota_us"), machine.read(folder + "/cpu.cfs_period_us"));
  });
  return least;
}

}  // namespace t2i
