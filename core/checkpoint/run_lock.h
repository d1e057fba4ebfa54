// One process per output folder: an flock on `run.lock`, which also says who holds it. The system drops the lock when
// its process dies in whatever way, so nobody has to clean up after a kill.
//
// A child that is forked without exec shares the lock and keeps it while it lives; programs that are exec'd do not.
#pragma once
#include "core/base/error.h"
#include "core/base/file.h"

namespace t2i {

class RunLock {
 public:
  // Makes the folder where needed, never waits. E4110 (73) names the process that holds it. E4111 (73): the file names
  // another host that did not release it and on some shared disks a lock is not seen across hosts; `steal` takes it
  // nevertheless.
  static Result<RunLock> acquire(const Path& output_folder, bool steal = false);
  ~RunLock();  // released; the file stays, emptied
  RunLock(RunLock&& other) noexcept;
  RunLock& operator=(RunLock&&) = delete;

 private:
  RunLock(int fd, int owner) : fd_(fd), owner_(owner) {}
  int fd_;
  int owner_;  // the process that took it
};

}  // namespace t2i
