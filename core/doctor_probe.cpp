#include "core/doctor_probe.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <dlfcn.h>

#include "core/plug/host.h"
#include "core/plug/library.h"
#include "core/precision/device.h"

namespace t2i {

int doctor_command(const DoctorOptions& options) {
  nlohmann::json& facts = *options.facts;
  facts = {{"torch", host()->torch_version}, {"vectors", at::get_cpu_capability()}, {"gpus", 0}, {"nccl", 0}, {"refused", nlohmann::json::array()}};
  try {
    choose_device("cuda");
    facts["gpus"] = at::getNumGPUs();
    // It came with our half for GPUs, which is loaded now.
    int version = 0;
    if (auto* ask = reinterpret_cast<int (*)(int*)>(::dlsym(RTLD_DEFAULT, "ncclGetVersion")); ask && ask(&version) == 0) facts["nccl"] = version;
  } catch (const Failure& f) {
    facts["cuda_problem"] = f.errors[0].why;
  } catch (const std::exception& e) {
    facts["cuda_problem"] = text_of(e);
  }
  try {
    Registry registry(plugin_search_path(options.plugin_paths), host());
    registry.list();
    for (const Error& e : registry.refused()) facts["refused"].push_back(to_string(e));
  } catch (const Failure& f) {
    facts["refused"].push_back(f.what());
  }
  return 0;
}

}  // namespace t2i
