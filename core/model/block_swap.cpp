#include "core/model/block_swap.h"

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/base/dry_run.h"
#include "core/base/error.h"
#include "core/base/number_text.h"
#include "core/model/params.h"

namespace t2i {
namespace {

constexpr int64_t line = 64;  // bytes

at::TensorOptions bytes_on(at::Device device) { return at::TensorOptions().dtype(at::kByte).device(device); }

class HostCopies final : public SlotCopies {
 public:
  at::Tensor host_room(int64_t bytes) override { return at::empty({bytes}, bytes_on(at::kCPU)); }
  at::Tensor device_room(int64_t bytes) override { return at::empty({bytes}, bytes_on(at::kCPU)); }
  void begin(size_t, const at::Tensor& place, const std::vector<at::Tensor>& pieces) override {
    int64_t at = 0;
    for (const at::Tensor& piece : pieces) place.narrow(0, at, piece.numel()).copy_(piece), at += piece.numel();
  }
  void wait(size_t) override {}
};

// On a stream of their own, through pinned memory. The places are never given back, so no allocator need know of the stream.
class DeviceCopies final : public SlotCopies {
  at::Device on_;
  c10::impl::VirtualGuardImpl device_;
  c10::Stream stream_;
  std::vector<std::unique_ptr<c10::Event>> done_;

 public:
  explicit DeviceCopies(at::Device device) : on_(device), device_(device.type()), stream_(device_.getStreamFromGlobalPool(device)) {}

  at::Tensor host_room(int64_t bytes) override { return at::empty({bytes}, bytes_on(at::kCPU).pinned_memory(true)); }
  at::Tensor device_room(int64_t bytes) override { return at::empty({bytes}, bytes_on(on_)); }
  void begin(size_t slot, const at::Tensor& place, const std::vector<at::Tensor>& pieces) override {
    c10::Event used(device_.type());
    used.record(device_.getStream(on_));
    used.block(stream_);
    {
      c10::StreamGuard beside(stream_);
      int64_t at = 0;
      for (const at::Tensor& piece : pieces) place.narrow(0, at, piece.numel()).copy_(piece, /*non_blocking=*/true), at += piece.numel();
    }
    if (done_.size() <= slot) done_.resize(slot + 1);
    done_[slot] = std::make_unique<c10::Event>(device_.type());
    done_[slot]->record(stream_);
  }
  void wait(size_t slot) override { done_.at(slot)->block(device_.getStream(on_)); }
};

// What is on the host takes no memory of the device, which is what a dry run counts.
class DryCopies final : public SlotCopies {
 public:
  at::Tensor host_room(int64_t bytes) override { return at::empty({bytes}, bytes_on(at::kMeta)); }
  at::Tensor device_room(int64_t bytes) override { return at::empty({bytes}, bytes_on(at::kCPU)); }
  void begin(size_t, const at::Tensor&, const std::vector<at::Tensor>&) override {}
  void wait(size_t) override {}
};

at::Tensor room_like(const at::Tensor& t, at::Device device) { return at::empty(t.sizes(), t.options().device(device)); }

int64_t lines(const at::Tensor& t) { return (static_cast<int64_t>(t.nbytes()) + line - 1) / line * line; }

[[noreturn]] void nothing_waits(const std::string& key, const std::string& part) {
  fail({key, fmt::format("blocks are to wait in host memory, and no block of {} has a matrix that is not trained", part),
        "Its layers run outside of blocks, or all of them are trained", fmt::format("leave {} out", key), "E7301", Exit::config});
}

}  // namespace

std::unique_ptr<SlotCopies> slot_copies_for(at::Device device) {
  if (in_dry_run_of_gpu()) return std::make_unique<DryCopies>();
  if (device.is_cpu()) return std::make_unique<HostCopies>();
  return std::make_unique<DeviceCopies>(device);
}

at::Tensor SwappedWeight::in(at::ScalarType type) const { return swap->weight(number, type); }
void SwappedWeight::uses(bool bare) const { swap->uses(number, bare); }

std::vector<at::Tensor> BlockSwap::Weight::tensors() const {
  return packed ? packed->tensors() : std::vector<at::Tensor>{plain};
}

int64_t BlockSwap::Weight::bytes() const {
  int64_t sum = 0;
  for (const at::Tensor& t : tensors()) sum += lines(t);
  return sum;
}

BlockSwap::Weight BlockSwap::Weight::with(const std::vector<at::Tensor>& tensors) const {
  Weight other = *this;
  if (!packed) {
    other.plain = tensors.at(0);
    return other;
  }
  PackedWeight moved = *packed;
  size_t next = 0;
  for (at::Tensor* t : {&moved.codes, &moved.scales, &moved.block_scales})
    if (t->defined()) *t = tensors.at(next++);
  other.packed = std::make_shared<const PackedWeight>(std::move(moved));
  return other;
}

BlockSwap::Weight BlockSwap::Weight::inside(const at::Tensor& memory) const {
  std::vector<at::Tensor> views;
  int64_t at = begin;
  for (const at::Tensor& t : tensors()) {
    views.push_back(memory.narrow(0, at, static_cast<int64_t>(t.nbytes())).view(t.scalar_type()).view(t.sizes()));
    at += lines(t);
  }
  return with(views);
}

at::Tensor BlockSwap::Weight::in(at::ScalarType type) const { return packed ? unpacked(*packed, type) : plain.to(type); }

BlockSwap::BlockSwap(int64_t blocks, at::Device device, std::unique_ptr<SlotCopies> copies, std::string key, int64_t piece_bytes)
    : asked_(blocks), device_(device), apart_(!device.is_cpu() || in_dry_run_of_gpu()), copies_(std::move(copies)), key_(std::move(key)),
      piece_bytes_(piece_bytes) {}

std::shared_ptr<const SwappedWeight> BlockSwap::add(const std::shared_ptr<BlockSwap>& self) {
  weights_.emplace_back();
  return std::make_shared<const SwappedWeight>(SwappedWeight{self, weights_.size() - 1});
}

at::Tensor BlockSwap::host_room(at::IntArrayRef shape, at::ScalarType type) const {
  return at::empty(shape, at::TensorOptions().dtype(type).device(in_dry_run_of_gpu() ? at::kMeta : at::kCPU));
}

PackedWeight BlockSwap::on_host(PackedWeight weight) const {
  for (at::Tensor* t : {&weight.codes, &weight.scales, &weight.block_scales})
    if (t->defined() && in_dry_run_of_gpu()) *t = room_like(*t, at::kMeta);
  return weight;
}

void BlockSwap::require_weights(const std::string& part) const {
  if (weights_.empty()) nothing_waits(key_, part);
}

void BlockSwap::adopt(const ParamStore& store) {
  for (const Parameter& p : store.parameters)
    if (p.swapped) weights_.at(p.swapped->number).plain = p.value, weights_.at(p.swapped->number).packed = p.packed;
}

void BlockSwap::forward_begins() {
  std::lock_guard lock(mutex_);
  if (settled_) return;
  depth_ = blocks_met_ = 0;
  for (Weight& w : weights_) w.block = nowhere, w.stays = false;
}

void BlockSwap::block_begins() {
  std::lock_guard lock(mutex_);
  if (!settled_ && depth_++ == 0) ++blocks_met_;
}

void BlockSwap::block_ends() {
  std::lock_guard lock(mutex_);
  if (!settled_) --depth_;
}

void BlockSwap::uses(size_t number, bool bare) {
  std::lock_guard lock(mutex_);
  if (settled_) return;
  Weight& w = weights_.at(number);
  const int64_t here = depth_ ? blocks_met_ - 1 : nowhere;
  // What several blocks share would come for each of them.
  if (bare || here == nowhere || (w.block != nowhere && w.block != here)) w.stays = true;
  w.block = here;
}

void BlockSwap::forward_ends(ParamStore& store) {
  at::NoGradGuard no_grad;
  std::lock_guard lock(mutex_);
  if (settled_) return;
  std::vector<bool> has_some(static_cast<size_t>(blocks_met_), false);
  for (const Weight& w : weights_)
    if (w.block != nowhere && !w.stays) has_some[static_cast<size_t>(w.block)] = true;
  blocks_ = std::count(has_some.begin(), has_some.end(), true);
  if (!blocks_) nothing_waits(key_, store.part);
  const int64_t wait = std::min(asked_, blocks_);
  std::vector<int64_t> waits_as(has_some.size(), nowhere);
  for (int64_t i = 0, seen = 0, chosen = 0; i < blocks_met_; ++i) {
    if (!has_some[static_cast<size_t>(i)]) continue;
    // Spread evenly: while those between are computed, the next one comes.
    if ((seen + 1) * wait / blocks_ > seen * wait / blocks_) waits_as[static_cast<size_t>(i)] = chosen++;
    ++seen;
  }
  for (Weight& w : weights_) w.block = w.block == nowhere || w.stays ? nowhere : waits_as[static_cast<size_t>(w.block)];
  waiting_.resize(static_cast<size_t>(wait));
  lay_out(store);
  settled_ = true;
}

// One weight after the other, each given back where it was: no second copy of the model is ever there.
void BlockSwap::lay_out(ParamStore& store) {
  int64_t largest = 0;
  for (Weight& w : weights_) {
    if (w.block == nowhere) continue;
    Waiting& block = waiting_[static_cast<size_t>(w.block)];
    w.begin = block.bytes;
    block.bytes += w.bytes();
    largest = std::max(largest, block.bytes);
  }
  for (Parameter& p : store.parameters) {
    if (!p.swapped) continue;
    Weight& w = weights_[p.swapped->number];
    p.value.reset(), p.packed.reset();
    if (w.block == nowhere) {
      w = on_device(w);
      continue;
    }
    Waiting& block = waiting_[static_cast<size_t>(w.block)];
    if (block.pieces.empty())
      for (int64_t at = 0; at < block.bytes; at += piece_bytes_) block.pieces.push_back(copies_->host_room(std::min(piece_bytes_, block.bytes - at)));
    std::vector<at::Tensor> without_contents;
    int64_t at = w.begin;
    for (const at::Tensor& t : w.tensors()) {
      copy_into(block, at, t);
      without_contents.push_back(room_like(t, at::kMeta));
      at += lines(t);
    }
    w = w.with(without_contents);
  }
  for (size_t i = 0; i < std::min(slots, waiting_.size()); ++i) slots_.push_back({copies_->device_room(largest)});
}

void BlockSwap::copy_into(const Waiting& block, int64_t begin, const at::Tensor& tensor) const {
  if (tensor.is_meta()) return;
  const at::Tensor bytes = tensor.contiguous().view({-1}).view(at::kByte);
  for (int64_t done = 0; done < bytes.numel();) {
    const at::Tensor& piece = block.pieces[static_cast<size_t>((begin + done) / piece_bytes_)];
    const int64_t at = (begin + done) % piece_bytes_, n = std::min(piece.numel() - at, bytes.numel() - done);
    piece.narrow(0, at, n).copy_(bytes.narrow(0, done, n));
    done += n;
  }
}

BlockSwap::Weight BlockSwap::on_device(const Weight& w) const {
  std::vector<at::Tensor> there;
  for (const at::Tensor& t : w.tensors()) there.push_back(t.is_meta() ? room_like(t, device_) : t.to(device_));
  return w.with(there);
}

size_t BlockSwap::slot_of(int64_t block) const {
  return static_cast<size_t>(std::ranges::find(slots_, block, &Slot::block) - slots_.begin());
}

void BlockSwap::fill(size_t slot, int64_t block) {
  copies_->begin(slot, slots_[slot].place, waiting_[static_cast<size_t>(block)].pieces);
  slots_[slot].block = block, slots_[slot].arrived = false;
}

at::Tensor BlockSwap::weight(size_t number, at::ScalarType type) {
  at::NoGradGuard no_grad;
  std::lock_guard lock(mutex_);
  const Weight& w = weights_.at(number);
  if (!settled_ || w.block == nowhere) return on_device(w).in(type);
  size_t slot = slot_of(w.block);
  if (slot == slots_.size()) {
    slot = slots_.size() > 1 && slot_of(last_) == 0 ? 1 : 0;  // what is there was not the next one after all
    fill(slot, w.block);
  }
  if (!std::exchange(slots_[slot].arrived, true)) copies_->wait(slot);
  if (w.block != last_) {
    const int64_t next = w.block + (w.block > last_ ? 1 : -1);
    last_ = w.block;
    if (next >= 0 && next < static_cast<int64_t>(waiting_.size()) && slot_of(next) == slots_.size()) fill(1 - slot, next);
  }
  return w.inside(slots_[slot].place).in(type);
}

uint64_t BlockSwap::device_bytes() const {
  std::lock_guard lock(mutex_);
  int64_t bytes = 0;
  for (const Weight& w : weights_)
    if (settled_ ? w.block == nowhere : !apart_) bytes += w.bytes();
  for (const Waiting& block : waiting_) bytes += apart_ ? 0 : block.bytes;
  for (const Slot& slot : slots_) bytes += slot.place.numel();
  return static_cast<uint64_t>(bytes);
}

std::string BlockSwap::summary() const {
  std::lock_guard lock(mutex_);
  if (!settled_) return "";
  int64_t bytes = 0, places = 0;
  for (const Waiting& block : waiting_) bytes += block.bytes;
  for (const Slot& slot : slots_) places += slot.place.numel();
  auto text = [](int64_t n) { return bytes_text(static_cast<uint64_t>(n)); };
  return fmt::format("{} of {} blocks ({}) wait in host memory, {} at a time on the device ({})", waiting_.size(), blocks_, text(bytes), slots_.size(), text(places));
}

}  // namespace t2i
