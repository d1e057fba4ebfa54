// The heap's own count (mallinfo2) and not operators that count: a plugin's `new` is bound to the C++ library before
// anything could be put in its place, and malloc would not be seen at all. The count knows both, whoever called.
//
// What is kept from the first rounds is no leak, and neither is a table that doubles once in a while: only what grows
// in each of three looks at the heap is. The least that malloc hands out is 32 bytes, so a forgotten byte shows.
#include "core/plug/check/heap.h"

#include <malloc.h>

#include <algorithm>

namespace t2i {
namespace {

constexpr int looks = 3, most_warm_up = 10;
constexpr int64_t least_bytes = 16;  // a round: half of malloc's smallest piece

int64_t bytes_in_use() {
  struct mallinfo2 info = ::mallinfo2();
  return static_cast<int64_t>(info.uordblks + info.hblkhd);
}

}  // namespace

int64_t leaked_bytes(const std::function<void()>& round, int rounds) {
  for (int i = 0; i < std::min(rounds, most_warm_up); ++i) round();
  int64_t least = INT64_MAX;
  for (int look = 0; look < looks; ++look) {
    int64_t before = bytes_in_use();
    for (int i = 0; i < rounds; ++i) round();
    least = std::min(least, bytes_in_use() - before);
  }
  return least >= least_bytes * rounds ? least / rounds : 0;
}

}  // namespace t2i
