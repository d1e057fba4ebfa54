// Host memory that is kept between uses. A training step allocates and frees the same gigabytes again and again; a heap
// that returns them to the system pays for every page anew (a fault and 4 KB of zeros each time: a seventh of a step on
// the small model). The arena takes one range of addresses and hands out the smallest free block that fits, lowest
// address first. Neighbours that become free are joined again. It does not ask for huge pages: steps are as fast without
// them, and on a virtual machine their first touch was measured two to six times slower.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>

namespace t2i {

class Arena {
 public:
  static constexpr size_t alignment = 64;  // a cache line; also what vector instructions want

  // Reserves addresses, not memory; pages come when they are first written. `bytes` is halved until the system agrees;
  // capacity() is 0 when it never does.
  explicit Arena(size_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // `bytes` > 0. Null when no free block fits. Any thread may free what another has allocated.
  void* allocate(size_t bytes);
  void free(void* block);  // one that allocate() gave and nobody has freed

  bool owns(const void* p) const { return p >= base_ && p < base_ + capacity_; }
  size_t capacity() const { return capacity_; }

  struct Use {
    size_t live = 0, peak_live = 0;  // handed out
    size_t reached = 0;  // from the base to the highest address ever used: what the system has backed at most
  };
  Use use() const;
  void measure_anew();  // peak_live and reached begin at what is there now

 private:
  void insert_free(size_t at, size_t bytes);
  void erase_free(size_t at, size_t bytes);

  std::byte* base_ = nullptr;
  size_t capacity_ = 0;
  mutable std::mutex mutex_;
  size_t top_ = 0;                               // everything behind it has no block
  std::map<size_t, size_t> free_;                // offset -> bytes
  std::set<std::pair<size_t, size_t>> by_size_;  // (bytes, offset) of the same blocks
  std::unordered_map<size_t, size_t> live_;      // offset -> bytes
  Use use_;
};

}  // namespace t2i
