#include "core/memory/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cassert>

namespace t2i {

static constexpr size_t least_worth = size_t{32} << 20;
static constexpr size_t smallest_rest = 4096;  // a smaller rest stays with its block: crumbs only make searches longer

Arena::Arena(size_t bytes) {
  for (size_t wanted = bytes; wanted >= least_worth; wanted /= 2) {
    void* got = mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) continue;
    base_ = static_cast<std::byte*>(got), capacity_ = wanted;
    return;
  }
}

Arena::~Arena() {
  if (base_) munmap(base_, capacity_);
}

void Arena::insert_free(size_t at, size_t bytes) {
  free_.emplace(at, bytes);
  by_size_.emplace(bytes, at);
}

void Arena::erase_free(size_t at, size_t bytes) {
  free_.erase(at);
  by_size_.erase({bytes, at});
}

void* Arena::allocate(size_t bytes) {
  if (bytes > capacity_) return nullptr;
  bytes = (bytes + alignment - 1) / alignment * alignment;
  std::lock_guard lock(mutex_);
  size_t at = 0;
  if (auto fit = by_size_.lower_bound({bytes, 0}); fit != by_size_.end()) {
    auto [had, offset] = *fit;
    erase_free(offset, had);
    at = offset;
    if (had - bytes >= smallest_rest) insert_free(at + bytes, had - bytes);
    else bytes = had;
  } else {
    if (bytes > capacity_ - top_) return nullptr;
    at = top_;
    top_ += bytes;
    use_.reached = std::max(use_.reached, top_);
  }
  live_.emplace(at, bytes);
  use_.live += bytes;
  use_.peak_live = std::max(use_.peak_live, use_.live);
  return base_ + at;
}

void Arena::free(void* block) {
  size_t at = static_cast<size_t>(static_cast<std::byte*>(block) - base_);
  std::lock_guard lock(mutex_);
  auto found = live_.find(at);
  assert(found != live_.end());
  size_t bytes = found->second;
  live_.erase(found);
  use_.live -= bytes;

  auto next = free_.lower_bound(at);
  if (next != free_.end() && next->first == at + bytes) {
    size_t more = next->second;
    erase_free(at + bytes, more);
    bytes += more;
  }
  auto before = free_.lower_bound(at);
  if (before != free_.begin() && (--before)->first + before->second == at) {
    auto [start, length] = *before;
    erase_free(start, length);
    at = start, bytes += length;
  }
  if (at + bytes == top_) top_ = at;
  else insert_free(at, bytes);
}

Arena::Use Arena::use() const {
  std::lock_guard lock(mutex_);
  return use_;
}

void Arena::measure_anew() {
  std::lock_guard lock(mutex_);
  use_.peak_live = use_.live, use_.reached = top_;
}

}  // namespace t2i
