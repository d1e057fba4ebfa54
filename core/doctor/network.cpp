#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <sstream>

#include "core/dist/launch.h"
#include "core/doctor/doctor.h"

namespace t2i {
namespace {

std::vector<std::string> interfaces_of(const Machine& machine) {
  std::vector<std::string> out;
  for (const std::string& name : machine.list("sys/class/net"))
    if (name != "lo" && machine.read("sys/class/net/" + name + "/operstate") != "down") out.push_back(name);
  return out;
}

// NCCL_SOCKET_IFNAME: names with commas between, of which NCCL takes the beginning unless a '=' is before them; behind a
// '^' are those that are not to be taken. Gloo takes whole names.
std::vector<std::string> not_there(const std::string& value, bool beginnings, const std::vector<std::string>& there) {
  std::vector<std::string> missing;
  if (value.starts_with('^')) return missing;
  const bool whole = !beginnings || value.starts_with('=');
  std::istringstream names(value.starts_with('=') ? value.substr(1) : value);
  for (std::string name; std::getline(names, name, ',');) {
    auto is = [&](const std::string& n) { return whole ? n == name : n.starts_with(name); };
    if (name != "lo" && std::none_of(there.begin(), there.end(), is)) missing.push_back(name);
  }
  return missing;
}

bool is_loopback(const std::string& address) { return address.starts_with("127.") || address == "::1"; }

void check_launch(const Machine& machine, const std::vector<std::string>& interfaces, Findings& findings) {
  Result<Launch> launch = launch_from(machine.environment);
  if (!launch) return findings.push_back({"launcher", Finding::fail, launch.error().where + ": " + launch.error().what, launch.error().todo});
  if (launch->launcher != "none")
    findings.push_back({"launcher", Finding::ok, fmt::format("{}: process {} of {}, {} on this machine", launch->launcher, launch->rank, launch->world, launch->local_world), ""});
  else if (const std::string tasks = machine.get("SLURM_NTASKS"); !machine.get("SLURM_JOB_ID").empty() && !tasks.empty() && tasks != "1")
    findings.push_back({"launcher", Finding::warn, fmt::format("this is an allocation of SLURM for {} tasks, and this process is none of them", tasks), "start it with srun t2i run …, or with torchrun"});
  if (launch->world <= launch->local_world) return;
  // Several machines: the others must find this one by an address.
  const bool named = !machine.get("GLOO_SOCKET_IFNAME").empty() || !machine.get("NCCL_SOCKET_IFNAME").empty();
  const std::string pick = interfaces.empty() ? "the interface" : interfaces.front();
  if (interfaces.empty()) findings.push_back({"network", Finding::fail, "no interface is up, and the run is over several machines", "bring one up, or give the container the host's network"});
  else if (!named && (machine.addresses.empty() || std::ranges::all_of(machine.addresses, is_loopback)))
    findings.push_back({"host name", Finding::warn,
                        machine.addresses.empty() ? fmt::format("'{}' has no address: the other machines cannot be told where this one is", machine.host)
                                                  : fmt::format("'{}' is {}, which is this machine for every other one, too", machine.host, fmt::join(machine.addresses, ", ")),
                        fmt::format("export GLOO_SOCKET_IFNAME={0} NCCL_SOCKET_IFNAME={0}", pick)});
}

}  // namespace

void check_network(const Machine& machine, Findings& findings) {
  const std::vector<std::string> interfaces = interfaces_of(machine);
  for (auto [variable, beginnings] : {std::pair("NCCL_SOCKET_IFNAME", true), std::pair("GLOO_SOCKET_IFNAME", false)})
    if (auto missing = not_there(machine.get(variable), beginnings, interfaces); !missing.empty())
      findings.push_back({"network", Finding::fail, fmt::format("{} names {}, and no such interface is up", variable, fmt::join(missing, ", ")),
                          interfaces.empty() ? fmt::format("unset {}", variable) : fmt::format("export {}={}", variable, interfaces.front())});
  check_launch(machine, interfaces, findings);
  findings.push_back({"interfaces", Finding::ok, interfaces.empty() ? "none but this machine's own" : fmt::format("{}", fmt::join(interfaces, ", ")), ""});
}

}  // namespace t2i
