#include <fmt/format.h>

#include "core/base/number_text.h"
#include "core/doctor/doctor.h"

namespace t2i {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t little_disk = 20'000'000'000;      // a few checkpoints of a small model
constexpr uint64_t little_shared = 1'000'000'000;     // docker's 64 MB end NCCL with "unhandled system error"
constexpr uint64_t few_files = 1024, little_locked = 1'000'000'000;

void check_disk(const Machine& machine, Findings& findings) {
  const std::string place = machine.output.string();
  const std::optional<Disk> disk = machine.disk(machine.output);
  if (!disk) return findings.push_back({"disk", Finding::fail, place + " cannot be looked at", "choose another place with --output"});
  const std::string text = fmt::format("{} of {} are free for {}", bytes_text(disk->free), bytes_text(disk->total), place);
  if (!disk->writable) return findings.push_back({"disk", Finding::fail, text + ", where nothing can be written", "choose another place with --output, or change its owner"});
  if (disk->free < little_disk)
    return findings.push_back({"disk", Finding::warn, text, "make room, or choose another place; t2i plan says how much a run leaves there"});
  findings.push_back({"disk", Finding::ok, text, ""});
}

void check_shared_memory(const Machine& machine, Findings& findings) {
  const bool several = machine.nvidia.gpus.size() > 1;
  const std::string larger = "docker run --shm-size=8g (or --ipc=host); in Kubernetes an emptyDir with medium: Memory on /dev/shm";
  const std::optional<Disk> shm = machine.has("dev/shm") ? machine.disk(machine.root / "dev/shm") : std::nullopt;
  if (!shm || !shm->writable)
    return findings.push_back({"shared memory", several ? Finding::fail : Finding::warn, "/dev/shm is not there or cannot be written: processes of one machine meet there", larger});
  const std::string text = fmt::format("{} of {} are free in /dev/shm", bytes_text(shm->free), bytes_text(shm->total));
  if (shm->free < little_shared)
    return findings.push_back({"shared memory", Finding::warn, text + ", which several processes on one machine soon fill", larger});
  findings.push_back({"shared memory", Finding::ok, text, ""});
}

void check_hub_cache(const Machine& machine, Findings& findings) {
  const std::optional<Disk> disk = machine.disk(machine.hub_cache);
  const std::string place = machine.hub_cache.string();
  if (!disk || !disk->writable)
    findings.push_back({"hub cache", Finding::warn, place + " cannot be written: hf download has no place for models", "export HF_HUB_CACHE=a folder of yours"});
  else if (disk->free < little_disk)
    findings.push_back({"hub cache", Finding::warn, fmt::format("{} free for {}", bytes_text(disk->free), place), "export HF_HUB_CACHE=a folder on a larger disk"});
  else findings.push_back({"hub cache", Finding::ok, fmt::format("{} ({} free)", place, bytes_text(disk->free)), ""});
  if (machine.token_is_readable_by_others)
    findings.push_back({"hub token", Finding::warn, machine.token.string() + " can be read by other users", fmt::format("chmod 600 '{}'", machine.token.string())});
}

void check_limits(const Machine& machine, Findings& findings) {
  auto limit = [&](const char* name) {
    auto at = machine.limits.find(name);
    return at == machine.limits.end() ? ~uint64_t{0} : at->second;
  };
  if (limit("nofile") < few_files)
    findings.push_back({"open files", Finding::warn, fmt::format("at most {}", limit("nofile")), "ulimit -n 65536, or LimitNOFILE= of the service"});
  else findings.push_back({"open files", Finding::ok, limit("nofile") == ~uint64_t{0} ? "any number" : fmt::format("at most {}", limit("nofile")), ""});
  if (limit("fsize") != ~uint64_t{0})
    findings.push_back({"file size", Finding::warn, fmt::format("a file may have {} at most; a checkpoint can be larger", bytes_text(limit("fsize"))), "ulimit -f unlimited"});
  if (!machine.list("sys/class/infiniband").empty() && limit("memlock") < little_locked)
    findings.push_back({"locked memory", Finding::warn, fmt::format("at most {}, and there is InfiniBand, which NCCL locks memory for", bytes_text(limit("memlock"))),
                        "ulimit -l unlimited (docker run --ulimit memlock=-1, LimitMEMLOCK=infinity)"});
}

}  // namespace

void check_storage(const Machine& machine, Findings& findings) {
  check_disk(machine, findings);
  check_shared_memory(machine, findings);
  check_hub_cache(machine, findings);
  check_limits(machine, findings);
}

}  // namespace t2i
