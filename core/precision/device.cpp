#include "core/precision/device.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <sched.h>

#include <boost/dll/runtime_symbol_info.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/base/error.h"
#include "core/base/number_text.h"

namespace t2i {
namespace {

// Registers torch's CUDA backend and our kernels. Empty on success, else why not.
std::string load_cuda() {
  static const std::string problem = []() -> std::string {
    if (!std::filesystem::exists("/dev/nvidiactl") && !std::filesystem::exists("/dev/dxg")) return "no NVIDIA driver is loaded (/dev/nvidiactl is not there)";
    std::filesystem::path beside = std::filesystem::path(boost::dll::this_line_location().string()).parent_path() / "libt2i_cuda.so";
    if (!dlopen(beside.c_str(), RTLD_NOW | RTLD_GLOBAL)) return dlerror();
    if (!at::globalContext().hasCUDA()) return "torch finds no usable GPU";
    return "";
  }();
  return problem;
}

}  // namespace

at::Device choose_device(const std::string& wanted, int local_rank) {
  if (wanted == "cpu") return at::kCPU;
  std::string problem = load_cuda();
  if (problem.empty()) return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(local_rank));
  if (wanted == "cuda")
    fail({"train.device", "a GPU was asked for and there is none to use", problem, "set train.device: cpu, or install the NVIDIA driver (580 or newer)",
          "E4010", Exit::missing});
  return at::kCPU;
}

at::ScalarType dtype_from(const std::string& name, const std::string& key) {
  if (name == "float32" || name == "fp32" || name == "no") return at::kFloat;
  if (name == "bfloat16" || name == "bf16") return at::kBFloat16;
  if (name == "float16" || name == "fp16") return at::kHalf;
  if (name == "float64") return at::kDouble;
  fail({key, "'" + name + "' is not an element type", "", "use float32, bfloat16 or float16", "E1003", Exit::config});
}

std::string dtype_name(at::ScalarType type) {
  return type == at::kFloat      ? "float32"
         : type == at::kBFloat16 ? "bfloat16"
         : type == at::kHalf     ? "float16"
         : type == at::kDouble   ? "float64"
                                 : c10::toString(type);
}

int default_threads(int local_world) {
  cpu_set_t set;
  int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::max(1, cores / std::max(1, local_world));
}

void set_compute_threads(int threads) { at::set_num_threads(threads); }

at::Tensor to_device(const at::Tensor& host, at::Device device) {
  return device.is_cuda() ? host.pin_memory().to(device, /*non_blocking=*/true) : host.to(device);
}

MemoryUse memory_use(at::Device device) {
  if (device.is_cuda()) {
    auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(device.has_index() ? device.index() : c10::DeviceIndex{0});
    constexpr auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    return {stats.allocated_bytes[all].current, stats.allocated_bytes[all].peak, stats.reserved_bytes[all].peak};
  }
  // proc(5), in kB. getrusage() would begin with the peak of the program that started this one.
  MemoryUse use;
  std::ifstream status("/proc/self/status");
  for (std::string key, rest; status >> key && std::getline(status, rest);) {
    if (key == "VmHWM:") use.peak_bytes = std::stoll(rest) * 1024;
    if (key == "VmRSS:") use.now_bytes = std::stoll(rest) * 1024;
  }
  use.peak_bytes = std::max(use.peak_bytes, use.now_bytes);  // what is resident is counted late
  return use;
}

std::string peak_memory_text(at::Device device) {
  auto text = [](int64_t bytes) { return bytes_text(static_cast<uint64_t>(bytes)); };
  std::string host = text(memory_use(at::kCPU).peak_bytes) + " (RSS)";
  if (!device.is_cuda()) return host;
  MemoryUse use = memory_use(device);
  return text(use.peak_bytes) + " allocated, " + text(use.peak_reserved_bytes) + " reserved on the GPU; " + host;
}

}  // namespace t2i
