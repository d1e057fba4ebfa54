// Frozen matrices that wait in host memory and come to the device block by block (block.run of plugin.h), one block ahead
// of their use. They are never copied back: what is frozen does not change. Which matrices belong to which block is
// learnt from the first forward pass; then each waiting block's are laid one behind another, so that a block is one copy,
// into one of two places on the device that are there from then on. What is no matrix, or is used outside of blocks or
// otherwise than by a layer, stays on the device.
//
// Nobody says when a block begins: who needs a weight asks for it, in forward, in a block's second run and in backward,
// and the order of these questions tells what comes next.
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "core/model/packed.h"

namespace t2i {

class ParamStore;
class BlockSwap;

// A weight that may wait, by its number.
struct SwappedWeight {
  std::shared_ptr<BlockSwap> swap;
  size_t number = 0;

  // In memory that the next question may fill with another weight.
  at::Tensor in(at::ScalarType type) const;
  // A forward pass uses it: in a layer, or (`bare`) as a tensor that the model computes with.
  void uses(bool bare) const;
};

// Memory on both sides and copies that are under way beside the computation. A test passes in its own.
class SlotCopies {
 public:
  virtual ~SlotCopies() = default;
  virtual at::Tensor host_room(int64_t bytes) = 0;    // uint8, from which copies are fast
  virtual at::Tensor device_room(int64_t bytes) = 0;  // uint8
  // Begins to fill `place`, which is that of `slot`, with the pieces one behind another, as soon as what was computed until
  // now is done with it.
  virtual void begin(size_t slot, const at::Tensor& place, const std::vector<at::Tensor>& pieces) = 0;
  // What is computed from now on waits for that.
  virtual void wait(size_t slot) = 0;
};

// For a part that is computed on `device`. On a CPU both sides are host memory, and the copies are made all the same.
std::unique_ptr<SlotCopies> slot_copies_for(at::Device device);

class BlockSwap {
 public:
  static constexpr size_t slots = 2;  // the block that is computed, and the next
  // torch gives pinned memory in powers of two: a block as one piece could take twice its size.
  static constexpr int64_t usual_piece = int64_t{1} << 26;  // bytes

  // `blocks`: how many wait, spread evenly over those that have frozen matrices; all of them where there are fewer.
  // `key`: what the number was set by, for messages.
  BlockSwap(int64_t blocks, at::Device device, std::unique_ptr<SlotCopies> copies, std::string key, int64_t piece_bytes = usual_piece);

  // [allocate] One more weight. `self` is this object.
  std::shared_ptr<const SwappedWeight> add(const std::shared_ptr<BlockSwap>& self);
  // Memory of the host for a weight, or for one that was packed there, before it is known where it belongs.
  at::Tensor host_room(at::IntArrayRef shape, at::ScalarType type) const;
  PackedWeight on_host(PackedWeight weight) const;
  // Failure E7301 where there is none.
  void require_weights(const std::string& part) const;
  // [loaded] The store's weights are there.
  void adopt(const ParamStore& store);

  // [step] A forward pass begins; a block of it begins and ends (one inside of another is part of that); it is over. After
  // the first one everything goes to its place, and `store` is told. Failure E7301 where no block has frozen matrices.
  void forward_begins();
  void block_begins();
  void block_ends();
  void forward_ends(ParamStore& store);

  uint64_t device_bytes() const;  // of these weights and the two places; on a CPU what waits is there too
  // "20 of 57 blocks (4.1 GB) wait in host memory, 2 at a time on the device (412.0 MB)"; empty until that is known.
  std::string summary() const;

 private:
  friend struct SwappedWeight;
  static constexpr int64_t nowhere = -1;

  struct Weight {
    at::Tensor plain;                            // or:
    std::shared_ptr<const PackedWeight> packed;  // of one that waits: their types and sizes, without contents
    int64_t block = nowhere;  // of the forward pass; later its place among those that wait, nowhere for one that stays
    bool stays = false;
    int64_t begin = 0;        // in its block's memory, in bytes

    std::vector<at::Tensor> tensors() const;
    int64_t bytes() const;  // each tensor on a line of its own
    Weight with(const std::vector<at::Tensor>& tensors) const;
    Weight inside(const at::Tensor& memory) const;  // as views of its block's memory
    at::Tensor in(at::ScalarType type) const;
  };
  struct Waiting {
    std::vector<at::Tensor> pieces;
    int64_t bytes = 0;
  };
  struct Slot {
    at::Tensor place;
    int64_t block = nowhere;  // what is in it, or on its way
    bool arrived = true;
  };

  at::Tensor weight(size_t number, at::ScalarType type);
  void uses(size_t number, bool bare);
  Weight on_device(const Weight& weight) const;
  void copy_into(const Waiting& block, int64_t begin, const at::Tensor& tensor) const;
  void lay_out(ParamStore& store);
  size_t slot_of(int64_t block) const;  // slots_.size() where it is in none
  void fill(size_t slot, int64_t block);

  int64_t asked_;
  at::Device device_;
  bool apart_;  // the device has memory of its own, or is counted so
  std::unique_ptr<SlotCopies> copies_;
  std::string key_;
  int64_t piece_bytes_;
  mutable std::mutex mutex_;
  std::vector<Weight> weights_;
  bool settled_ = false;
  int64_t depth_ = 0, blocks_met_ = 0;  // of the forward pass that is looked at
  std::vector<Waiting> waiting_;        // in the order of the forward pass
  int64_t blocks_ = 0;                  // that have frozen matrices
  std::vector<Slot> slots_;
  int64_t last_ = nowhere;              // the block that was asked for last
};

}  // namespace t2i
