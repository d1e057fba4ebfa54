#include "core/model/offload.h"

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "core/base/dry_run.h"

namespace t2i {
namespace {

// Strides are kept: another layout would be summed in another order.
at::Tensor room_like(const at::Tensor& t, const at::TensorOptions& options) { return at::empty_strided(t.sizes(), t.strides(), options); }

class DeviceCopies final : public Copies {
  c10::impl::VirtualGuardImpl device_;
  c10::Stream stream_;

  std::shared_ptr<c10::Event> done() {
    auto event = std::make_shared<c10::Event>(device_.type());
    event->record(stream_);
    return event;
  }

 public:
  explicit DeviceCopies(at::Device device) : device_(device.type()), stream_(device_.getStreamFromGlobalPool(device)) {}

  at::Tensor to_host(const at::Tensor& tensor) override {
    c10::Event made(device_.type());
    made.record(device_.getStream(tensor.device()));
    made.block(stream_);
    at::Tensor host = room_like(tensor, tensor.options().device(at::kCPU).pinned_memory(true));
    {
      c10::StreamGuard beside(stream_);
      host.copy_(tensor, /*non_blocking=*/true);
    }
    tensor.record_stream(stream_);
    return host;
  }
  Fetched to_device(const at::Tensor& host, at::Device device) override {
    Fetched fetched;
    {
      c10::StreamGuard beside(stream_);
      fetched.tensor = room_like(host, host.options().device(device));
      fetched.tensor.copy_(host, /*non_blocking=*/true);
    }
    fetched.ready = [this, event = done(), tensor = fetched.tensor] {
      const c10::Stream computing = device_.getStream(tensor.device());
      event->block(computing);
      tensor.record_stream(computing);
    };
    return fetched;
  }
};

// What is on the host takes no memory of the device, which is what a dry run counts.
class DryCopies final : public Copies {
 public:
  at::Tensor to_host(const at::Tensor& tensor) override { return room_like(tensor, tensor.options().device(at::kMeta)); }
  Fetched to_device(const at::Tensor& host, at::Device device) override {
    return {room_like(host, host.options().device(device)), [] {}};
  }
};

}  // namespace

std::shared_ptr<Offload> offload_for(at::Device device) {
  if (in_dry_run_of_gpu()) return std::make_shared<Offload>(std::make_unique<DryCopies>());
  return device.is_cuda() ? std::make_shared<Offload>(std::make_unique<DeviceCopies>(device)) : nullptr;
}

void Offload::restart() {
  std::lock_guard lock(mutex_);
  kept_.clear(), last_inputs_.clear();
  next_ = 0;
}

int64_t Offload::keep(const std::vector<at::Tensor>& inputs) {
  at::NoGradGuard no_grad;
  std::lock_guard lock(mutex_);
  std::vector<Kept>& list = kept_[next_];
  std::set<const void*> these;
  for (const at::Tensor& t : inputs) {
    Kept kept;
    const void* which = t.defined() ? t.storage().unsafeGetStorageImpl() : nullptr;
    these.insert(which);
    const bool goes = t.defined() && t.nbytes() >= least_bytes && t.is_non_overlapping_and_dense() && !last_inputs_.contains(which);
    if (goes) kept.host = copies_->to_host(t.detach()), kept.device = t.device();
    else kept.stays = t.defined() ? t.detach() : t;
    list.push_back(std::move(kept));
  }
  last_inputs_ = std::move(these);
  return next_++;
}

void Offload::fetch(int64_t number) {
  auto found = kept_.find(number);
  if (found == kept_.end()) return;
  for (Kept& k : found->second)
    if (k.host.defined() && !k.fetched.tensor.defined()) k.fetched = copies_->to_device(k.host, k.device);
}

std::vector<at::Tensor> Offload::take(int64_t number) {
  at::NoGradGuard no_grad;
  std::lock_guard lock(mutex_);
  auto found = kept_.find(number);
  TORCH_CHECK(found != kept_.end(), "the inputs of block ", number, " were taken twice");
  fetch(number);
  fetch(number - 1);
  std::vector<at::Tensor> inputs;
  for (Kept& k : found->second) {
    if (k.fetched.tensor.defined()) k.fetched.ready();
    inputs.push_back(k.host.defined() ? k.fetched.tensor : k.stays);
  }
  kept_.erase(found);
  return inputs;
}

}  // namespace t2i
