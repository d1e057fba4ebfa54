#include <fmt/format.h>

#include <charconv>

#include "core/base/number_text.h"
#include "core/doctor/doctor.h"

namespace t2i {
namespace {

constexpr int driver_wanted = 580;                     // the first that serves CUDA 13, which LibTorch's wheel is made for
constexpr int capability_wanted = 80;                  // core/cuda/CMakeLists.txt
constexpr const char* install_driver = "install NVIDIA's driver 580 or newer";
constexpr const char* in_container = "in a container give it the GPU: docker run --gpus all, apptainer exec --nv, nvidia.com/gpu in Kubernetes";

// NVIDIA's display controllers on the bus, whatever drives them.
int on_the_bus(const Machine& machine) {
  int count = 0;
  for (const std::string& device : machine.list("sys/bus/pci/devices")) {
    const std::string folder = "sys/bus/pci/devices/" + device;
    count += machine.read(folder + "/vendor") == "0x10de" && machine.read(folder + "/class").starts_with("0x03");
  }
  return count;
}

// True when there is a driver that can be asked further.
bool check_driver(const Machine& machine, Findings& findings) {
  const bool there = machine.has("dev/nvidiactl") || machine.has("dev/dxg");  // the latter under Windows
  const int seen = on_the_bus(machine);
  if (!there && seen) {
    findings.push_back({"driver", Finding::fail, fmt::format("{} NVIDIA GPU{} on the bus, and no driver answers for {}: /dev/nvidiactl is not there", seen, seen == 1 ? " is" : "s are", seen == 1 ? "it" : "them"),
                        fmt::format("{}; {}", install_driver, in_container)});
    return false;
  }
  if (!there) {
    findings.push_back({"driver", Finding::warn, "no NVIDIA GPU is here: t2i computes on the processor", ""});
    return false;
  }
  const NvidiaFacts& n = machine.nvidia;
  if (!n.problem.empty()) {
    findings.push_back({"driver", Finding::fail, "it is loaded and does not answer: " + n.problem, "restart the machine after an update of the driver; in a container use one whose host has driver 580 or newer"});
    return false;
  }
  int version = 0;
  std::from_chars(n.driver.data(), n.driver.data() + n.driver.size(), version);
  std::string text = fmt::format("{}, for CUDA {}.{}", n.driver, n.cuda / 1000, n.cuda % 1000 / 10);
  if (version < driver_wanted) {
    findings.push_back({"driver", Finding::fail, text + "; CUDA 13 is needed", install_driver});
    return false;
  }
  findings.push_back({"driver", Finding::ok, text, ""});
  return true;
}

void check_each(const Machine& machine, Findings& findings) {
  const std::vector<Gpu>& gpus = machine.nvidia.gpus;
  if (gpus.empty()) return findings.push_back({"GPUs", Finding::fail, "the driver knows none", in_container});
  for (size_t i = 0; i < gpus.size(); ++i) {
    const Gpu& g = gpus[i];
    const std::string text = fmt::format("{}, {}, compute capability {}.{}", g.name, bytes_text(g.memory), g.major, g.minor);
    if (10 * g.major + g.minor < capability_wanted)
      findings.push_back({fmt::format("GPU {}", i), Finding::fail, text + "; 8.0 or newer is needed", "use a newer GPU, or set train.device: cpu"});
    else findings.push_back({fmt::format("GPU {}", i), Finding::ok, text, ""});
  }
  if (const auto visible = machine.environment("CUDA_VISIBLE_DEVICES"); visible && (visible->empty() || *visible == "-1" || *visible == "NoDevFiles"))
    findings.push_back({"GPUs", Finding::warn, "CUDA_VISIBLE_DEVICES hides all of them", "unset CUDA_VISIBLE_DEVICES"});
  if (!machine.nvidia.apart.empty()) {
    const auto [a, b] = machine.nvidia.apart.front();
    findings.push_back({"peer access", Finding::warn, fmt::format("{} of the pairs of GPUs cannot read each other's memory, as {} and {}", machine.nvidia.apart.size(), a, b),
                        "gradients go through host memory: slower; in a virtual machine or with IOMMU on, see NVIDIA's notes on ACS"});
  } else if (gpus.size() > 1) {
    findings.push_back({"peer access", Finding::ok, "every GPU can read every other's memory", ""});
  }
}

void check_engine(const Machine& machine, bool driver, Findings& findings) {
  const EngineFacts& e = machine.engine;
  if (!e.problem.empty())
    return findings.push_back({"LibTorch", Finding::fail, e.problem, "run ./quickstart --build, or pip install torch==2.11.0 where t2i was built"});
  findings.push_back({"LibTorch", Finding::ok, fmt::format("{}, {}", e.torch, e.vectors), ""});
  if (!driver) return;
  if (!e.cuda_problem.empty())
    return findings.push_back({"CUDA", Finding::fail, "LibTorch's half for GPUs cannot be used: " + e.cuda_problem,
                               "install the whole wheel (pip install torch==2.11.0) and build t2i again; until then set train.device: cpu"});
  findings.push_back({"CUDA", Finding::ok, fmt::format("LibTorch finds {} GPU{}", e.gpus, e.gpus == 1 ? "" : "s"), ""});
  if (e.nccl) findings.push_back({"NCCL", Finding::ok, fmt::format("{}.{}.{}", e.nccl / 10000, e.nccl % 10000 / 100, e.nccl % 100), ""});
  else
    findings.push_back({"NCCL", machine.nvidia.gpus.size() > 1 ? Finding::fail : Finding::warn, "it is not there, and several GPUs cannot train together without it",
                        "pip install nvidia-nccl-cu13, which torch's wheel asks for"});
}

}  // namespace

void check_gpus(const Machine& machine, Findings& findings) {
  const bool driver = check_driver(machine, findings);
  if (driver) check_each(machine, findings);
  check_engine(machine, driver, findings);
}

}  // namespace t2i
