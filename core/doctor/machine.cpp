#include "core/doctor/machine.h"

#include <netdb.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "core/checkpoint/hub_cache.h"

namespace t2i {
namespace {

namespace fs = std::filesystem;

std::optional<Disk> disk_of(fs::path path) {
  std::error_code ec;
  path = fs::absolute(path, ec);
  while (!fs::exists(path, ec) && path.has_parent_path() && path != path.parent_path()) path = path.parent_path();
  struct statvfs s {};
  if (::statvfs(path.c_str(), &s) != 0) return std::nullopt;
  return Disk{uint64_t{s.f_blocks} * s.f_frsize, uint64_t{s.f_bavail} * s.f_frsize, ::access(path.c_str(), W_OK) == 0};
}

std::vector<std::string> addresses_of(const std::string& host) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return {};
  std::vector<std::string> out;
  for (addrinfo* a = found; a; a = a->ai_next) {
    char text[INET6_ADDRSTRLEN] = "";
    if (a->ai_family == AF_INET) ::inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in*>(a->ai_addr)->sin_addr, text, sizeof text);
    if (a->ai_family == AF_INET6) ::inet_ntop(AF_INET6, &reinterpret_cast<sockaddr_in6*>(a->ai_addr)->sin6_addr, text, sizeof text);
    if (*text) out.push_back(text);
  }
  ::freeaddrinfo(found);
  return out;
}

}  // namespace

std::string Machine::read(const std::string& path) const {
  std::ifstream file(root / path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

std::vector<std::string> Machine::list(const std::string& folder) const {
  std::vector<std::string> names;
  std::error_code ec;
  for (fs::directory_iterator at(root / folder, ec), end; !ec && at != end; at.increment(ec)) names.push_back(at->path().filename().string());
  std::ranges::sort(names);
  return names;
}

bool Machine::has(const std::string& path) const {
  std::error_code ec;
  return fs::exists(root / path, ec);
}

Machine this_machine(const fs::path& output) {
  Machine m;
  m.environment = [](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    return value ? std::optional<std::string>(value) : std::nullopt;
  };
  m.disk = disk_of;
  const std::pair<const char*, int> resources[] = {{"nofile", RLIMIT_NOFILE}, {"memlock", RLIMIT_MEMLOCK}, {"fsize", RLIMIT_FSIZE}, {"as", RLIMIT_AS}};
  for (auto [name, resource] : resources)
    if (rlimit limit{}; ::getrlimit(static_cast<__rlimit_resource>(resource), &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) m.limits[name] = limit.rlim_cur;
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) m.processors = CPU_COUNT(&set);
  m.terminal = ::isatty(STDOUT_FILENO) == 1;
  m.output = output;
  m.hub_cache = hub_cache();
  m.token = m.get("HF_HOME").empty() ? fs::path(m.get("HOME")) / ".cache/huggingface/token" : fs::path(m.get("HF_HOME")) / "token";
  struct stat token {};
  m.token_is_readable_by_others = ::stat(m.token.c_str(), &token) == 0 && (token.st_mode & 077) != 0;
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  m.host = host;
  m.addresses = addresses_of(m.host);
  return m;
}

NvidiaFacts nvidia_facts(const std::string& text) {
  const nlohmann::json j = nlohmann::json::parse(text, nullptr, false);
  NvidiaFacts facts;
  if (!j.is_object()) return facts.problem = "its answer cannot be read", facts;
  facts.problem = j.value("problem", ""), facts.driver = j.value("driver", ""), facts.cuda = j.value("cuda", 0);
  for (const auto& g : j.value("gpus", nlohmann::json::array()))
    facts.gpus.push_back({g.value("name", ""), g.value("memory", uint64_t{0}), g.value("major", 0), g.value("minor", 0)});
  for (const auto& pair : j.value("apart", nlohmann::json::array())) facts.apart.emplace_back(pair.at(0), pair.at(1));
  return facts;
}

std::string to_text(const NvidiaFacts& facts) {
  nlohmann::json j{{"problem", facts.problem}, {"driver", facts.driver}, {"cuda", facts.cuda}, {"apart", facts.apart}};
  j["gpus"] = nlohmann::json::array();
  for (const Gpu& g : facts.gpus) j["gpus"].push_back({{"name", g.name}, {"memory", g.memory}, {"major", g.major}, {"minor", g.minor}});
  return j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

EngineFacts engine_facts(const std::string& text) {
  const nlohmann::json j = nlohmann::json::parse(text, nullptr, false);
  EngineFacts facts;
  if (!j.is_object()) return facts.problem = "its answer cannot be read", facts;
  facts.problem = j.value("problem", ""), facts.torch = j.value("torch", ""), facts.vectors = j.value("vectors", "");
  facts.cuda_problem = j.value("cuda_problem", ""), facts.gpus = j.value("gpus", 0), facts.nccl = j.value("nccl", 0);
  facts.refused = j.value("refused", std::vector<std::string>());
  return facts;
}

}  // namespace t2i
