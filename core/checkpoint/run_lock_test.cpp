#include "core/checkpoint/run_lock.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "core/base/json.h"

using namespace t2i;
namespace stdfs = std::filesystem;

namespace {

struct Folder {
  Path path = stdfs::temp_directory_path() / ("t2i-lock-" + random_hex(16));
  ~Folder() { stdfs::remove_all(path); }
};

int exit_of(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace

TEST(RunLock, ASecondIsToldWhoHoldsIt) {
  Folder folder;
  {
    RunLock first = RunLock::acquire(folder.path / "deep/er").take();
    Result<RunLock> second = RunLock::acquire(folder.path / "deep/er");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().id, "E4110");
    EXPECT_EQ(second.error().exit, Exit::in_use);
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    EXPECT_NE(second.error().what.find("is in use by process " + std::to_string(getpid()) + " on host " + host +
                                       ", since 20"),
              std::string::npos)
        << second.error().what;
    EXPECT_FALSE(RunLock::acquire(folder.path / "deep/er", true));  // what is alive cannot be stolen
    RunLock moved = std::move(first);
    EXPECT_FALSE(RunLock::acquire(folder.path / "deep/er"));
  }
  EXPECT_TRUE(RunLock::acquire(folder.path / "deep/er"));
}

// 50 times 8 processes at once: exactly one gets it, the others name its process.
TEST(RunLock, OfManyAtOnceOneRuns) {
  for (int round = 0; round < 50; ++round) {
    Folder folder;
    int start[2], done[2];
    ASSERT_EQ(pipe(start), 0);
    ASSERT_EQ(pipe(done), 0);
    std::vector<pid_t> children;
    for (int i = 0; i < 8; ++i) {
      pid_t child = fork();
      if (child == 0) {
        char byte;
        close(start[1]);
        close(done[1]);
        if (read(start[0], &byte, 1) != 0) _exit(9);  // all begin when the parent closes its end
        Result<RunLock> lock = RunLock::acquire(folder.path);
        if (!lock) {
          bool named = lock.error().id == "E4110" && lock.error().what.find("process ?") == std::string::npos;
          _exit(named ? 73 : 1);
        }
        if (read(done[0], &byte, 1) != 0) _exit(9);  // held until the losers have been seen
        _exit(0);
      }
      children.push_back(child);
    }
    close(start[0]);
    close(done[0]);
    close(start[1]);
    int losers = 0, winners = 0;
    std::vector<pid_t> left = children;
    while (losers < 7) {
      int status = 0;
      pid_t child = waitpid(-1, &status, 0);
      ASSERT_GT(child, 0);
      ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 73) << status;
      std::erase(left, child);
      ++losers;
    }
    close(done[1]);
    for (pid_t child : left) winners += exit_of(child) == 0;
    EXPECT_EQ(winners, 1);
  }
}

TEST(RunLock, AfterAKillItIsFreeAtOnce) {
  Folder folder;
  for (const char* point : {"lock-open:1", "lock-taken:1", "lock-written:1"}) {
    pid_t child = fork();
    if (child == 0) {
      arm_kill_point(point);
      Result<RunLock> lock = RunLock::acquire(folder.path);
      _exit(1);
    }
    EXPECT_EQ(exit_of(child), -SIGKILL) << point;
    EXPECT_TRUE(RunLock::acquire(folder.path)) << point;
  }
}

TEST(RunLock, AForkedChildDoesNotRelease) {
  Folder folder;
  RunLock lock = RunLock::acquire(folder.path).take();
  pid_t child = fork();
  if (child == 0) {
    { RunLock inherited = std::move(lock); }
    _exit(0);
  }
  EXPECT_EQ(exit_of(child), 0);
  Result<RunLock> second = RunLock::acquire(folder.path);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().what.find(std::to_string(getpid())), std::string::npos);
}

TEST(RunLock, AnotherHostsIsNotTakenUnlessAsked) {
  Folder folder;
  stdfs::create_directory(folder.path);
  std::ofstream(folder.path / "run.lock")
      << R"({"pid": 7, "host": "elsewhere", "boot": "x", "started": "2026-01-01 00:00:00 UTC"})";
  Result<RunLock> refused = RunLock::acquire(folder.path);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().id, "E4111");
  EXPECT_EQ(refused.error().exit, Exit::in_use);
  EXPECT_EQ(refused.error().what, "was not released by process 7 on host elsewhere, since 2026-01-01 00:00:00 UTC");
  EXPECT_TRUE(RunLock::acquire(folder.path, true));
  EXPECT_TRUE(RunLock::acquire(folder.path));          // released in between
  std::ofstream(folder.path / "run.lock") << "{half";  // killed while writing it
  EXPECT_TRUE(RunLock::acquire(folder.path));
}

TEST(RunLock, WhereNothingCanBeWrittenThatIsSaid) {
  EXPECT_EQ(RunLock::acquire("/proc/t2i").error().exit, Exit::io);
  Folder folder;
  stdfs::create_directory(folder.path);
  stdfs::create_symlink("/etc/passwd", folder.path / "run.lock");
  EXPECT_EQ(RunLock::acquire(folder.path).error().id, "E4102");
}
