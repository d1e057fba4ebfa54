// Where to compute and how many threads to use.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <string>

namespace t2i {

// "cpu", "cuda" or "auto" (a GPU when there is one). `local_rank` picks among several. The CUDA half of the engine is a
// library of its own, loaded here and only where a driver is present. Failure E4010 when "cuda" cannot be had.
at::Device choose_device(const std::string& wanted, int local_rank = 0);

// A tensor of the host on `device`. To a GPU it goes through pinned memory, and nobody waits for it.
at::Tensor to_device(const at::Tensor& host, at::Device device);

// Memory of this process: of a GPU what torch's allocator has handed out, of a CPU what is resident.
struct MemoryUse {
  int64_t now_bytes = 0, peak_bytes = 0;
  int64_t peak_reserved_bytes = 0;  // of a GPU: what the allocator had taken from the device; 0 of a CPU
};
MemoryUse memory_use(at::Device device);

// "7.6 GB (RSS)"; of a GPU "7.6 GB allocated, 8.1 GB reserved on the GPU; 1.9 GB (RSS)".
std::string peak_memory_text(at::Device device);

// "float32", "bfloat16", "float16" and their short forms; Failure E1003 names the key.
at::ScalarType dtype_from(const std::string& name, const std::string& key);
std::string dtype_name(at::ScalarType type);  // the long form

// Threads of the CPU's arithmetic for one of `local_world` processes of a machine: its share of the cores.
int default_threads(int local_world);
void set_compute_threads(int threads);

}  // namespace t2i
