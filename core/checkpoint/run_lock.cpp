#include "core/checkpoint/run_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <utility>

#include "core/base/json.h"

namespace t2i {
namespace {

std::string host_name() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  return name;
}

std::string boot_id() {
  std::string id = read_file("/proc/sys/kernel/random/boot_id", 100).take();
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

std::string now_text() {
  time_t now = ::time(nullptr);
  struct tm parts {};
  ::gmtime_r(&now, &parts);
  char text[64];
  strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text;
}

// Who the file names; null when it is empty, as after a release.
Json holder_of(int fd) {
  char text[4096];
  ssize_t n = ::pread(fd, text, sizeof text, 0);
  if (n <= 0) return nullptr;
  Result<Json> json = parse_json({text, static_cast<size_t>(n)}, "run.lock");
  return json && json->is_object() ? *json : Json(nullptr);
}

std::string described(const Json& holder) {
  auto field = [&](const char* name) -> std::string {
    if (!holder.contains(name)) return "?";
    return holder[name].is_string() ? holder[name].get<std::string>() : holder[name].dump();
  };
  return "process " + field("pid") + " on host " + field("host") + ", since " + field("started");
}

}  // namespace

Result<RunLock> RunLock::acquire(const Path& output_folder, bool steal) {
  try {
    make_folders(output_folder);
  } catch (const Failure& f) {
    return f.errors.front();
  }
  Path path = output_folder / "run.lock";
  kill_point("lock-open");
  int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  auto failed = [&](const char* doing) {
    Error e{path.string(),
            std::string(strerror(errno)) + " while " + doing,
            "",
            "give an output folder on a disk that you may write to and lock",
            "E4102",
            Exit::io};
    if (fd >= 0) ::close(fd);
    return e;
  };
  if (fd < 0) return failed("opening the lock");
  if (::flock(fd, LOCK_EX | LOCK_NB) < 0) {
    if (errno != EWOULDBLOCK) return failed("locking");
    Json holder;
    for (int tries = 0; tries < 100 && (holder = holder_of(fd)).is_null();
         ++tries) {  // it may have locked but not yet written
      timespec pause{0, 10'000'000};
      ::nanosleep(&pause, nullptr);
    }
    ::close(fd);
    return Error{output_folder.string(),
                 "is in use by " + described(holder),
                 "Two runs in one folder would overwrite each other",
                 "wait for it, stop it, or give another output folder",
                 "E4110",
                 Exit::in_use};
  }
  kill_point("lock-taken");
  Json before = holder_of(fd);
  if (!before.is_null() && before.value("host", Json()) != host_name() && !steal) {
    ::close(fd);
    return Error{output_folder.string(),
                 "was not released by " + described(before),
                 "The lock is free here, but not every shared disk shows another host's lock",
                 "see that it no longer runs, then add --steal-lock",
                 "E4111",
                 Exit::in_use};
  }
  Json self = {{"pid", ::getpid()}, {"host", host_name()}, {"boot", boot_id()}, {"started", now_text()}};
  std::string text = self.dump() + "\n";
  if (::ftruncate(fd, 0) < 0 || ::pwrite(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()) ||
      ::fsync(fd) < 0)
    return failed("writing the lock");
  kill_point("lock-written");
  return RunLock(fd, ::getpid());
}

RunLock::RunLock(RunLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)), owner_(other.owner_) {}

RunLock::~RunLock() {
  if (fd_ < 0) return;
  if (owner_ == ::getpid()) {  // a forked child that ends has released nothing
    [[maybe_unused]] int emptied = ::ftruncate(fd_, 0);
  }
  ::close(fd_);
}

}  // namespace t2i
