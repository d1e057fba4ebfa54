#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include "core/doctor/control_group.h"
#include "core/doctor/doctor.h"

namespace t2i {
namespace {

// The first "flags" line of /proc/cpuinfo; on arm64 it is called "Features".
std::set<std::string> instructions_of(const Machine& machine, bool& x86) {
  std::istringstream lines(machine.read("proc/cpuinfo"));
  for (std::string line; std::getline(lines, line);) {
    const bool flags = line.starts_with("flags");
    if (!flags && !line.starts_with("Features")) continue;
    x86 = flags;
    std::istringstream words(line.substr(std::min(line.find(':') + 1, line.size())));
    return {std::istream_iterator<std::string>(words), {}};
  }
  return {};
}

}  // namespace

void check_processor(const Machine& machine, Findings& findings) {
  std::string cores = fmt::format("{} {}", machine.processors, machine.processors == 1 ? "core" : "cores");
  if (const double quota = processor_quota(machine); quota > 0 && quota < machine.processors) {
    findings.push_back({"processor", Finding::warn, fmt::format("{}, of which the control group lets this process use {:.1f}", cores, quota),
                        fmt::format("give the container as many processors, or set train.num_threads: {}", std::max(1, static_cast<int>(quota)))});
  } else {
    findings.push_back({"processor", Finding::ok, cores, ""});
  }
  bool x86 = false;
  const std::set<std::string> has = instructions_of(machine, x86);
  if (has.empty()) return;
  if (!x86) return findings.push_back({"instructions", Finding::ok, "another architecture than x86-64: the compiler's vectors", ""});
  std::vector<std::string> missing;
  for (const char* name : {"avx2", "fma", "bmi2", "f16c"})
    if (!has.count(name)) missing.push_back(name);
  if (!missing.empty())
    return findings.push_back({"instructions", Finding::warn, fmt::format("the processor lacks {}: its own arithmetic will be several times slower", fmt::join(missing, ", ")),
                               "compute on a GPU or on a newer processor; in a virtual machine pass the host's processor through (-cpu host)"});
  std::string text = "AVX2";
  if (has.count("avx512f") && has.count("avx512bw") && has.count("avx512dq") && has.count("avx512vl")) text += ", AVX-512";
  for (auto [flag, said] : {std::pair("avx512_bf16", "bfloat16 products"), std::pair("amx_bf16", "bfloat16 tiles")})
    if (has.count(flag)) text += std::string(", ") + said;
  findings.push_back({"instructions", Finding::ok, text, ""});
}

}  // namespace t2i
