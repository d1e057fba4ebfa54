// What is known of a block's body while it runs, on this thread. Two savings come of it.
//
// A block that meets neither an input that wants a gradient nor a trained weight needs no backward pass.
//
// When a block is run again in backward, only what its operators keep is wanted, not what it makes: from its last layer on
// usually nothing is kept any more (the second convolution of a residual block, the second matrix of a feed-forward layer).
// That layer then takes its place in the graph without its product. Whether that was right shows afterwards: where a
// later operator keeps values, the block is run once more in full. (torch.utils.checkpoint stops early to the same end.)
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace t2i {

class BlockRun {
 public:
  // `without`: the layer, counted from 0, whose product is left out; -1: none. The thread's innermost run is current().
  explicit BlockRun(int64_t without = -1);
  ~BlockRun();
  BlockRun(const BlockRun&) = delete;

  static BlockRun* current();

  int64_t layers() const { return layers_; }
  bool trains() const { return trains_; }               // a trained weight was used
  bool values_were_needed() const { return needed_; }   // what was made must not be used

  // A layer begins: is its product to be left out?
  bool next_layer_without_values() { return layers_++ == without_; }
  void values_left_out() { open_ = true; }
  bool open() const { return open_; }                   // some values there are none
  void need_values() { needed_ |= open_; }
  void uses_trained() { trains_ = true; }

 private:
  BlockRun* outer_;
  int64_t without_, layers_ = 0;
  bool trains_ = false, open_ = false, needed_ = false;
};

// What an operator keeps of its arguments for backward.
enum class Keeps {
  values,    // or who knows
  nothing,
  factors,   // each of two, where the other wants a gradient
  divisor,   // the second, and the first where the second wants a gradient
  gated,     // (x, gate, z): gate and z likewise
};
Keeps keeps_of(const char* op_name);

}  // namespace t2i
