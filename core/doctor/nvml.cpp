// NVIDIA's management library, which the driver brings: asked by name, so that nothing of it is needed to build or to run
// where there is none. Its functions and constants are those of nvml.h, which keeps them.
#include <dlfcn.h>

#include <cstring>

#include "core/doctor/machine.h"

namespace t2i {
namespace {

using Device = struct nvmlDevice_st*;
struct Memory {
  unsigned long long total, free, used;
};
constexpr int p2p_caps_index_read = 0, p2p_status_ok = 0;

class Nvml {
  void* library_ = nullptr;

 public:
  std::string problem;

  Nvml() : library_(::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)) {
    if (!library_) problem = ::dlerror();
  }

  // Calls it, where it is there; true for success.
  template <class... Arguments>
  bool operator()(const char* function, Arguments... arguments) {
    auto* f = library_ ? reinterpret_cast<int (*)(Arguments...)>(::dlsym(library_, function)) : nullptr;
    return f && f(arguments...) == 0;
  }
};

}  // namespace

NvidiaFacts ask_nvidia() {
  NvidiaFacts facts;
  Nvml nvml;
  if (!nvml.problem.empty()) return facts.problem = nvml.problem, facts;
  if (!nvml("nvmlInit_v2")) return facts.problem = "nvmlInit_v2() failed: the driver's parts are of different versions, or not loaded", facts;
  char text[96] = "";
  if (nvml("nvmlSystemGetDriverVersion", static_cast<char*>(text), 80u)) facts.driver = text;
  nvml("nvmlSystemGetCudaDriverVersion_v2", &facts.cuda);
  unsigned count = 0;
  nvml("nvmlDeviceGetCount_v2", &count);
  std::vector<Device> devices;
  for (unsigned i = 0; i < count; ++i) {
    Device device = nullptr;
    if (!nvml("nvmlDeviceGetHandleByIndex_v2", i, &device)) continue;
    devices.push_back(device);
    Gpu& gpu = facts.gpus.emplace_back();
    if (nvml("nvmlDeviceGetName", device, static_cast<char*>(text), 96u)) gpu.name = text;
    Memory memory{};
    if (nvml("nvmlDeviceGetMemoryInfo", device, &memory)) gpu.memory = memory.total;
    nvml("nvmlDeviceGetCudaComputeCapability", device, &gpu.major, &gpu.minor);
  }
  for (size_t i = 0; i < devices.size(); ++i)
    for (size_t j = i + 1; j < devices.size(); ++j) {
      int status = p2p_status_ok;
      if (nvml("nvmlDeviceGetP2PStatus", devices[i], devices[j], p2p_caps_index_read, &status) && status != p2p_status_ok)
        facts.apart.emplace_back(static_cast<int>(i), static_cast<int>(j));
    }
  nvml("nvmlShutdown");
  return facts;
}

}  // namespace t2i
