// One row per launcher: how it is recognised and what its variables are called. The first row that fits decides, so
// torchrun inside `srun` is torchrun. A variable that a recognised launcher should have set and did not is an error
// that names it: a guess would start several runs of one process that overwrite each other's output.
#include "core/dist/launch.h"

#include <charconv>
#include <cstdlib>

namespace t2i {
namespace {

using Environment = std::function<std::optional<std::string>(const char*)>;

struct Names {
  const char *rank, *world, *local_rank, *local_world;
};
constexpr Names torch_names{"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"};
constexpr Names openmpi_names{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
                              "OMPI_COMM_WORLD_LOCAL_SIZE"};
constexpr Names slurm_names{"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", nullptr};

bool has(const Environment& env, const char* name) {
  auto value = env(name);
  return value && !value->empty();
}
std::string text_of(const Environment& env, const char* name) { return env(name).value_or(""); }

Error unusable(const std::string& launcher, std::string what, std::string todo) {
  return {"launch by " + launcher, std::move(what), "", std::move(todo), "E5002", Exit::config};
}

// Reads numbers and keeps the first problem, so that the rows below read as lists.
struct Reader {
  const Environment& env;
  std::string launcher;
  std::optional<Error> problem;

  int number(const char* name, int low, int high, std::optional<int> absent = std::nullopt) {
    std::string text = text_of(env, name);
    if (text.empty()) {
      if (absent) return *absent;
      if (!problem)
        problem = unusable(launcher, std::string(name) + " is not set",
                           std::string("set ") + name + ", or start t2i with torchrun, which sets everything");
      return low;
    }
    int value = 0;
    auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failed != std::errc() || end != text.data() + text.size() || value < low || value > high) {
      if (!problem)
        problem = unusable(launcher,
                           std::string(name) + " = '" + printable(text) + "' is not a whole number from " +
                               std::to_string(low) + " to " + std::to_string(high),
                           "correct it, or start t2i with torchrun, which sets everything");
      return low;
    }
    return value;
  }

  void ranks(Launch& launch, const Names& names) {
    constexpr int most = 1 << 20;
    launch.world = number(names.world, 1, most);
    launch.rank = number(names.rank, 0, problem ? most : launch.world - 1);
    launch.local_world = names.local_world ? number(names.local_world, 1, most, 1) : 1;
    launch.local_rank = number(names.local_rank, 0, most, 0);
  }

  void master(Launch& launch, const std::string& address_if_absent = "", int port_if_absent = 0) {
    launch.master_address = has(env, "MASTER_ADDR") ? text_of(env, "MASTER_ADDR") : address_if_absent;
    if (launch.master_address.empty() && !problem)
      problem = unusable(launcher, "MASTER_ADDR is not set",
                         "export MASTER_ADDR with the host of rank 0 (mpirun -x MASTER_ADDR=host …)");
    launch.master_port = number("MASTER_PORT", 1, 65535, port_if_absent ? std::optional(port_if_absent) : std::nullopt);
  }
};

// "node[003-007,012]-ib,login" → "node003-ib"; "rack[1-2]n[07-09]" → "rack1n07".
std::string first_host(const std::string& list) {
  std::string host;
  for (size_t i = 0; i < list.size() && list[i] != ','; ++i) {
    if (list[i] != '[') {
      host += list[i];
      continue;
    }
    size_t close = list.find(']', i);
    if (close == std::string::npos) return "";
    size_t end = list.find_first_of(",-]", i);
    host.append(list, i + 1, end - i - 1);
    i = close;
  }
  return host;
}

// "4(x2),3" says how many tasks each node has: 4, 4, 3. Zero if the list does not reach `node` or is not such a list.
int tasks_on_node(const std::string& list, int node) {
  const char *at = list.data(), *end = at + list.size();
  while (at < end) {
    int tasks = 0, times = 1;
    auto read = std::from_chars(at, end, tasks);
    if (read.ec != std::errc()) return 0;
    at = read.ptr;
    if (end - at > 2 && at[0] == '(' && at[1] == 'x') {
      read = std::from_chars(at + 2, end, times);
      if (read.ec != std::errc() || read.ptr == end) return 0;
      at = read.ptr + 1;
    }
    if (node < times) return tasks;
    node -= times;
    if (at < end && *at++ != ',') return 0;
  }
  return 0;
}

bool is_torchrun(const Environment& env) { return has(env, "TORCHELASTIC_RUN_ID"); }
void read_torchrun(Reader& r, Launch& launch) {
  r.ranks(launch, torch_names);
  r.master(launch);
  launch.agent_store = text_of(r.env, "TORCHELASTIC_USE_AGENT_STORE") == "True";
  launch.restart = r.number("TORCHELASTIC_RESTART_COUNT", 0, 1 << 20, 0);
}

// A shell inside an allocation inherits the step's variables; there the user means one process.
bool is_slurm(const Environment& env) {
  std::string job = text_of(env, "SLURM_JOB_NAME");
  return has(env, "SLURM_PROCID") && has(env, "SLURM_STEP_ID") && job != "bash" && job != "sh" && job != "zsh" &&
         job != "interactive";
}
void read_slurm(Reader& r, Launch& launch) {
  r.ranks(launch, slurm_names);
  const char* nodes = has(r.env, "SLURM_STEP_NODELIST") ? "SLURM_STEP_NODELIST" : "SLURM_JOB_NODELIST";
  const char* tasks = has(r.env, "SLURM_STEP_TASKS_PER_NODE") ? "SLURM_STEP_TASKS_PER_NODE" : "SLURM_TASKS_PER_NODE";
  launch.local_world = std::max(1, tasks_on_node(text_of(r.env, tasks), r.number("SLURM_NODEID", 0, 1 << 20, 0)));
  std::string host = first_host(text_of(r.env, nodes));
  if (host.empty() && !has(r.env, "MASTER_ADDR") && !r.problem)
    r.problem = unusable(r.launcher, std::string(nodes) + " is not set or not a list of hosts",
                         "run under srun, or export MASTER_ADDR and MASTER_PORT");
  long job = std::strtol(text_of(r.env, "SLURM_JOB_ID").c_str(), nullptr, 10);
  r.master(launch, host.empty() ? "unknown" : host, 15000 + static_cast<int>(job % 20000));
}

bool is_openmpi(const Environment& env) { return has(env, "OMPI_COMM_WORLD_RANK") || has(env, "OMPI_COMM_WORLD_SIZE"); }
void read_openmpi(Reader& r, Launch& launch) {
  r.ranks(launch, openmpi_names);
  if (launch.world > 1) r.master(launch);
}

bool is_environment(const Environment& env) {
  return has(env, "RANK") || (has(env, "WORLD_SIZE") && text_of(env, "WORLD_SIZE") != "1");
}
void read_environment(Reader& r, Launch& launch) {
  r.ranks(launch, torch_names);
  if (launch.world > 1) r.master(launch);
}

struct Launcher {
  const char* name;
  bool (*is)(const Environment&);
  void (*read)(Reader&, Launch&);
};
constexpr Launcher launchers[] = {
    {"torchrun", is_torchrun, read_torchrun},
    {"slurm", is_slurm, read_slurm},
    {"openmpi", is_openmpi, read_openmpi},
    {"environment", is_environment, read_environment},
};

}  // namespace

Result<Launch> launch_from(const Environment& env) {
  for (const Launcher& launcher : launchers) {
    if (!launcher.is(env)) continue;
    Launch launch;
    launch.launcher = launcher.name;
    Reader reader{env, launcher.name, std::nullopt};
    launcher.read(reader, launch);
    if (reader.problem) return *reader.problem;
    return launch;
  }
  // Kubeflow's TrainJob sets torchrun's own options in every pod; without torchrun each pod would train alone.
  std::string nodes = text_of(env, "PET_NNODES");
  if (!nodes.empty() && nodes != "1")
    return unusable(
        "Kubeflow",
        "PET_NNODES = '" + printable(nodes) + "' asks for several nodes, but RANK and WORLD_SIZE are not set",
        "begin the container's command with torchrun --no-python");
  return Launch{};
}

Result<Launch> launch_from_environment() {
  return launch_from([](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    return value ? std::optional<std::string>(value) : std::nullopt;
  });
}

}  // namespace t2i
