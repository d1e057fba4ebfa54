// MappedFile. Reading a mapped page that its file no longer has raises SIGBUS; a handler, installed with the first map,
// puts zeros there and notes it in a table, so that the reader goes on and then learns of it through damage(). Any
// other SIGBUS goes to whoever handled it before.
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>

#include "core/base/file.h"
#include "core/base/number_text.h"

namespace t2i {

namespace {

struct Slot {
  std::atomic<bool> used{false};
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<bool> damaged{false};
};
constinit std::array<Slot, 4096> slots;
struct sigaction previous;
const uintptr_t page_bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));

void on_bus_error(int signal, siginfo_t* info, void* context) {
  int saved = errno;
  auto at = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Slot& slot : slots) {
    uintptr_t begin = slot.begin.load(), end = slot.end.load();
    if (at < begin || at >= end) continue;
    uintptr_t page = at & ~(page_bytes - 1);
    if (::mmap(reinterpret_cast<void*>(page), page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
        MAP_FAILED)
      break;
    slot.damaged = true;
    errno = saved;
    return;
  }
  if ((previous.sa_flags & SA_SIGINFO) && previous.sa_sigaction) return previous.sa_sigaction(signal, info, context);
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) return previous.sa_handler(signal);
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  ::sigaction(SIGBUS, &standard, nullptr);  // the instruction runs again and the process ends as it should
}

void guard_against_truncation() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    ::sigaction(SIGBUS, &action, &previous);
  });
}

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const Path& path) {
  Result<int> fd = open_regular_file(path);
  if (!fd) return fd.error();
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  file->fd_ = *fd;
  struct stat status {};
  ::fstat(*fd, &status);
  file->changed_ns_ = status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
  auto size = static_cast<size_t>(status.st_size);
  if (size == 0) return std::shared_ptr<const MappedFile>(std::move(file));
  guard_against_truncation();
  for (size_t i = 0; i < slots.size() && file->slot_ < 0; ++i)
    if (!slots[i].used.exchange(true)) file->slot_ = static_cast<int>(i);
  void* at = file->slot_ < 0 ? MAP_FAILED : ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, *fd, 0);
  if (at == MAP_FAILED) {
    std::string reason = file->slot_ < 0 ? "too many files are mapped at once" : strerror(errno);
    return Error{path.string(),
                 "cannot be mapped into memory: " + reason,
                 "",
                 "close other programs, or raise the limits (ulimit -v)",
                 "E4104",
                 Exit::io};
  }
  file->bytes_ = {static_cast<const std::byte*>(at), size};
  Slot& slot = slots[static_cast<size_t>(file->slot_)];
  slot.damaged = false;
  slot.begin = reinterpret_cast<uintptr_t>(at);
  slot.end = reinterpret_cast<uintptr_t>(at) + size;
  return std::shared_ptr<const MappedFile>(std::move(file));
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) {
    Slot& slot = slots[static_cast<size_t>(slot_)];
    slot.end = 0;
    slot.begin = 0;
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
  if (slot_ >= 0) slots[static_cast<size_t>(slot_)].used = false;
  if (fd_ >= 0) ::close(fd_);
}

void MappedFile::unload(Bytes part) const {
  if (part.empty() || part.data() < bytes_.data() || part.data() + part.size() > bytes_.data() + bytes_.size()) return;
  auto begin = reinterpret_cast<uintptr_t>(part.data()) & ~(page_bytes - 1);
  auto end = reinterpret_cast<uintptr_t>(part.data() + part.size());
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);  // refused: it stays, and that is all
}

std::optional<Error> MappedFile::damage() const {
  struct stat now {};
  bool lost = slot_ >= 0 && slots[static_cast<size_t>(slot_)].damaged;
  bool known = ::fstat(fd_, &now) == 0;
  bool changed = known && (static_cast<size_t>(now.st_size) != bytes_.size() ||
                           now.st_mtim.tv_sec * 1'000'000'000 + now.st_mtim.tv_nsec != changed_ns_);
  if (!lost && !changed) return std::nullopt;
  std::string what =
      lost && !changed ? "a part of it could not be read from the disk" : "was changed while it was in use";
  if (known && static_cast<size_t>(now.st_size) != bytes_.size())
    what += ": " + grouped(bytes_.size()) + " bytes, then " + grouped(static_cast<uint64_t>(now.st_size));
  return Error{path_.string(),
               what,
               "What was read of it cannot be trusted",
               "make sure that no other program writes to it, then run the same command again",
               "E4108",
               Exit::io};
}

}  // namespace t2i
