#include "core/memory/host_allocator.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <malloc.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <new>

#include "core/memory/arena.h"
#include "core/memory/dry_run.h"

namespace t2i {
namespace {

// Below, the C library's own bins are faster and no pages are at stake.
constexpr size_t smallest = size_t{32} << 10;

Arena& arena() {
  // Never destroyed: tensors of static lifetime may outlive everything. Twice the machine's memory in addresses leaves
  // room for holes; pages that are never written cost nothing.
  static Arena* one =
      new Arena(2 * static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGE_SIZE)));
  return *one;
}

std::atomic<bool> dry_runs{false};  // has there been any?

void release(void* p) {
  if (arena().owns(p)) arena().free(p);
  else if (dry_runs.load() && dry_arena().owns(p)) dry_arena().free(p);
  else std::free(p);
}

}  // namespace

// As many addresses as can be had: a run may be planned that this machine has no memory for.
Arena& dry_arena() {
  static Arena* one = [] {
    dry_runs = true;
    return new Arena(size_t{1} << 44);
  }();
  return *one;
}

namespace {

struct HostAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &release, c10::kCPU};
    void* p = bytes < smallest ? nullptr : in_dry_run() ? dry_arena().allocate(bytes) : arena().allocate(bytes);
    if (!p && posix_memalign(&p, Arena::alignment, bytes) != 0) throw std::bad_alloc();
    return {p, p, &release, c10::kCPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};

}  // namespace

void use_host_arena() {
  static HostAllocator allocator;
  if (arena().capacity() == 0) return;
  c10::SetCPUAllocator(&allocator, /*priority=*/1);
  // What LibTorch's libraries take from the heap themselves (scratch memory of convolutions) is kept there as well.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
}

}  // namespace t2i
