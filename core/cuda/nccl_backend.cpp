// NCCL for core/dist/c10d_group.cpp, which knows it only as a pointer to the function below.
#include <c10/cuda/CUDAFunctions.h>

#include <cstdlib>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "core/dist/nccl.h"

namespace t2i {
namespace {

c10::intrusive_ptr<c10d::Backend> make_nccl(const BackendWishes& wishes) {
  // By default torch's watchdog kills the process when a collective runs out of time. 2: it aborts the communicator and
  // leaves the rest to us, so that the run ends with its own message and exit code.
  setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "2", 0);
  c10::cuda::set_device(wishes.device.index());
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = wishes.timeout;
  auto nccl = c10::make_intrusive<c10d::ProcessGroupNCCL>(wishes.store, wishes.rank, wishes.world, options);
  nccl->setBoundDeviceId(wishes.device);
  nccl->eagerConnectSingleDevice(wishes.device);  // a wrong interface or driver is said at the start, not at step 1
  return nccl;
}

[[maybe_unused]] const bool registered = (make_nccl_backend = make_nccl, true);

}  // namespace
}  // namespace t2i
