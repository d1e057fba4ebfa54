// Where the CUDA half of the engine (libt2i_cuda.so, loaded only where a GPU is used) leaves its way to make an NCCL
// backend, so that this half asks for one without linking it.
#pragma once
#include <c10/core/Device.h>
#include <c10/util/intrusive_ptr.h>

#include <chrono>

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace t2i {

struct BackendWishes {
  c10::intrusive_ptr<c10d::Store> store;
  int rank = 0, world = 1;
  std::chrono::milliseconds timeout{};
  at::Device device = at::kCPU;
};
using MakeBackend = c10::intrusive_ptr<c10d::Backend> (*)(const BackendWishes&);

// Null until libt2i_cuda.so is loaded.
extern MakeBackend make_nccl_backend;

}  // namespace t2i
