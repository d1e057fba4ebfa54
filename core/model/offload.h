// Activations that wait in host memory. What goes into a recomputed block (block.h) is not needed between its forward and
// its backward pass; a device's copy is given back as soon as the host has one, and is fetched again while backward is
// still busy with the block behind. Blocks come back in the reverse order of their forward pass.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

namespace t2i {

// Copies that are under way beside the computation. A test passes in its own.
class Copies {
 public:
  virtual ~Copies() = default;
  // Begins a copy to the host. Memory of `tensor` may be used anew when it is done; whoever frees it need not wait.
  virtual at::Tensor to_host(const at::Tensor& tensor) = 0;
  // Begins a copy back, into the same strides. `ready` makes the computation that follows wait for it; nobody else does.
  struct Fetched {
    at::Tensor tensor;
    std::function<void()> ready;
  };
  virtual Fetched to_device(const at::Tensor& host, at::Device device) = 0;
};

// The inputs of one forward pass's recomputed blocks. [step thread, autograd's threads]
class Offload {
 public:
  explicit Offload(std::unique_ptr<Copies> copies) : copies_(std::move(copies)) {}

  static constexpr size_t least_bytes = size_t{1} << 20;  // a smaller tensor is not worth a copy

  // A forward pass begins.
  void restart();
  // Keeps the inputs of the next block and gives its number. Tensors that went into the block before as well, as a text
  // does, and small ones stay where they are.
  int64_t keep(const std::vector<at::Tensor>& inputs);
  // The inputs again, once. Those of the block before begin to come back.
  std::vector<at::Tensor> take(int64_t number);

 private:
  struct Kept {
    at::Tensor stays;  // or:
    at::Tensor host;
    at::Device device = at::kCPU;
    Copies::Fetched fetched;
  };
  void fetch(int64_t number);

  std::unique_ptr<Copies> copies_;
  std::mutex mutex_;
  std::map<int64_t, std::vector<Kept>> kept_;
  std::set<const void*> last_inputs_;  // of the block before
  int64_t next_ = 0;
};

// For blocks that run on `device`: copies on a stream of their own, through pinned memory. Null for a CPU, whose
// activations are in host memory already.
std::shared_ptr<Offload> offload_for(at::Device device);

}  // namespace t2i
