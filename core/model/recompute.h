// Which blocks of a part are run again in backward (block.h). Blocks are counted as a forward pass meets them, from 0;
// a block inside of another is part of that.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace t2i {

struct RecomputePlan {
  int64_t every = 0;         // 0: none; n: blocks 0, n, 2n …
  std::vector<bool> chosen;  // where not empty: these, and no others

  bool includes(int64_t block) const {
    if (!chosen.empty()) return block < static_cast<int64_t>(chosen.size()) && chosen[static_cast<size_t>(block)];
    return every > 0 && block % every == 0;
  }
};

// Told of each block of a forward pass that gradients are wanted of. For whoever measures what blocks keep.
struct BlockWatch {
  std::function<void(const std::string& name)> begins;
  std::function<void()> ends;
};

}  // namespace t2i
