// The disk fails at the n-th action, for every n until nothing fails; and the process is killed at every point it
// passes. Whatever happens, the newest checkpoint that was acknowledged is found whole, and the next run goes on.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>

#include "core/checkpoint/commit.h"
#include "core/checkpoint/commit_testing.h"

using namespace t2i;

namespace {

struct FailingDisk : FileSystem {
  int left, error;
  bool for_good;  // all later actions fail too: the disk is gone
  bool failed = false;
  std::string action;
  FailingDisk(int n, int e, bool stays) : left(n), error(e), for_good(stays) {}
  bool now(const char* name) {
    --left;
    bool fails = left == 0 || (for_good && left < 0);
    if (fails && !failed) failed = true, action = name;
    return fails;
  }
  int create(const Path& p) override { return now("create") ? -error : FileSystem::create(p); }
  int open_folder(const Path& p) override { return now("open") ? -error : FileSystem::open_folder(p); }
  ssize_t write(int fd, Bytes b) override {
    if (now("write")) return -error;
    return FileSystem::write(fd, b.first(std::min<size_t>(b.size(), 700)));  // short, so that files have several writes
  }
  int fsync(int fd) override { return now("fsync") ? -error : FileSystem::fsync(fd); }
  int close(int fd) override {
    int closed = FileSystem::close(fd);
    return now("close") ? -error : closed;
  }
  int rename(const Path& a, const Path& b) override { return now("rename") ? -error : FileSystem::rename(a, b); }
  int rename_new(const Path& a, const Path& b) override {
    return now("rename") ? -error : FileSystem::rename_new(a, b);
  }
  int rename_exchange(const Path& a, const Path& b) override {
    return now("rename") ? -error : FileSystem::rename_exchange(a, b);
  }
  int symlink(const Path& a, const Path& b) override { return now("symlink") ? -error : FileSystem::symlink(a, b); }
  int make_folder(const Path& p) override { return now("mkdir") ? -error : FileSystem::make_folder(p); }
  int remove_file(const Path& p) override { return now("unlink") ? -error : FileSystem::remove_file(p); }
  int remove_folder(const Path& p) override { return now("rmdir") ? -error : FileSystem::remove_folder(p); }
};

struct OldNetworkDisk : FileSystem {
  int rename_new(const Path&, const Path&) override { return -EINVAL; }
  int rename_exchange(const Path&, const Path&) override { return -EINVAL; }
};

// Runs to its end with every n-th action failing in turn. `step` is committed over checkpoints 1 and 2.
void fail_everywhere(int64_t step, int error, bool for_good) {
  std::map<std::string, int> failed_in;
  for (int n = 1;; ++n) {
    ASSERT_LT(n, 300);
    TestFolder run;
    commit(run.path, 1, 0);
    commit(run.path, 2, 0);
    FailingDisk disk(n, error, for_good);
    bool acknowledged = false;
    std::vector<Error> notices;
    try {
      notices = commit(run.path, step, 2, disk).notices;
      acknowledged = true;
    } catch (const Failure& f) {
      ASSERT_TRUE(disk.failed);
      EXPECT_EQ(f.exit(), Exit::io);
      EXPECT_EQ(f.errors[0].id, error == ENOSPC ? "E4101" : "E4102");
      EXPECT_NE(f.errors[0].where.find(run.path.string()), std::string::npos);
    }
    if (disk.failed) ++failed_in[disk.action];
    int64_t found = newest_step(run.path);
    EXPECT_GE(found, acknowledged ? step : 2) << "after " << disk.action << " number " << n;
    if (acknowledged && disk.failed) {
      EXPECT_FALSE(notices.empty() && disk.action != "close")
          << disk.action << " number " << n << " was passed over in silence";
    }
    remove_leftovers(run.path);  // the next run, on a disk that works
    EXPECT_EQ(newest_step(run.path), found);
    commit(run.path, 4, 2);
    EXPECT_EQ(newest_step(run.path), 4);
    for (const std::string& name : names_in(run.path))
      EXPECT_NE(name.front(), '.') << "left behind by " << disk.action << " number " << n;
    if (!disk.failed) break;
  }
  for (const char* action :
       {"create", "open", "write", "fsync", "close", "rename", "symlink", "mkdir", "unlink", "rmdir"})
    EXPECT_GT(failed_in[action],
              for_good && (std::string(action) == "unlink" || std::string(action) == "rmdir") ? -1 : 0)
        << action;
}

std::map<std::string, int>* passes = nullptr;
void count_pass(std::string_view name) { ++(*passes)[std::string(name)]; }

std::map<std::string, int> points_of(const std::function<void()>& job) {
  std::map<std::string, int> seen;
  passes = &seen;
  arm_kill_point("", count_pass);
  job();
  arm_kill_point("");
  return seen;
}

// Runs `job` in a child that is killed at the n-th pass of the point.
void killed_at(const std::string& point, int n, const std::function<void()>& job) {
  pid_t child = fork();
  if (child == 0) {
    arm_kill_point(point + ":" + std::to_string(n));
    job();
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << point << ":" << n << " was not passed";
}

}  // namespace

TEST(CommitFailure, NoActionThatFailsCostsACheckpoint) {
  for (int error : {ENOSPC, EIO}) fail_everywhere(3, error, false);
}
TEST(CommitFailure, NoDiskThatGoesAwayCostsACheckpoint) { fail_everywhere(3, EIO, true); }
TEST(CommitFailure, NorWhileTheSameStepIsReplaced) { fail_everywhere(2, EIO, false); }

TEST(CommitFailure, DisksWithoutTheNewerRenamesWork) {
  TestFolder run;
  OldNetworkDisk disk;
  for (int64_t step : {1, 2, 2, 3}) commit(run.path, step, 2, disk);
  EXPECT_EQ(newest_step(run.path), 3);
  EXPECT_EQ(names_in(run.path), (std::vector<std::string>{"checkpoint-2", "checkpoint-3", "latest"}));
}

TEST(CommitFailure, AKillAtAnyPointCostsNothingAcknowledged) {
  struct Story {
    int64_t step;
    int keep, points;
  };
  for (const Story& story : {Story{3, 1, 24}, Story{2, 2, 20}}) {  // a new step with pruning; the same step again
    auto job_in = [&](const Path& output) {
      return [&story, output] {
        remove_leftovers(output);
        commit(output, story.step, story.keep);
      };
    };
    std::map<std::string, int> points;
    {
      TestFolder run;
      commit(run.path, 1, 0), commit(run.path, 2, 0);
      points = points_of(job_in(run.path));
    }
    int total = 0;
    for (const auto& [name, count] : points) {
      for (int n = 1; n <= count; ++n, ++total) {
        TestFolder run;
        commit(run.path, 1, 0), commit(run.path, 2, 0);
        killed_at(name, n, job_in(run.path));
        int64_t found = newest_step(run.path);
        EXPECT_TRUE(found == 2 || found == story.step) << found << " after " << name << ":" << n;
        if (name == "checkpoint-committed" || name.starts_with("latest") || name.starts_with("prune") ||
            name == "checkpoint-done") {
          EXPECT_EQ(found, story.step);
        }
        // Killed once more at each point of the clean-up: that can be repeated too.
        auto cleaned_copy = [&](const std::function<void(const Path&)>& clean) {
          using std::filesystem::copy_options;
          TestFolder copy;
          std::filesystem::copy(run.path, copy / "run", copy_options::recursive | copy_options::copy_symlinks);
          clean(copy / "run");
          EXPECT_EQ(newest_step(copy / "run"), found) << "after " << name << ":" << n;
        };
        std::map<std::string, int> recovery;
        cleaned_copy([&](const Path& copy) { recovery = points_of([&] { remove_leftovers(copy); }); });
        for (const auto& [again, times] : recovery)
          for (int m = 1; m <= times; ++m)
            cleaned_copy([&](const Path& copy) {
              killed_at(again, m, [&] { remove_leftovers(copy); });
              remove_leftovers(copy);
              for (const std::string& left : names_in(copy)) EXPECT_NE(left.front(), '.') << left << " after " << again;
            });
        // The next run ends as one that nobody disturbed.
        job_in(run.path)();
        EXPECT_EQ(newest_step(run.path), story.step);
        std::vector<std::string> end = story.step == 3
                                           ? std::vector<std::string>{"checkpoint-3", "latest"}
                                           : std::vector<std::string>{"checkpoint-1", "checkpoint-2", "latest"};
        EXPECT_EQ(names_in(run.path), end) << "after " << name << ":" << n;
      }
    }
    EXPECT_GE(total, story.points);
  }
}
