#include "core/base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <set>

#include "core/base/number_text.h"

using namespace t2i;
namespace stdfs = std::filesystem;

namespace {

struct Folder {
  Path path = stdfs::temp_directory_path() / ("t2i-file-" + random_hex(16));
  Folder() { stdfs::create_directory(path); }
  ~Folder() { stdfs::remove_all(path); }
  Path operator/(const char* name) const { return path / name; }
};

void put(const Path& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

// Writes and reads a few bytes at a time, and is interrupted now and then: all that POSIX allows.
struct Grudging : FileSystem {
  std::mt19937 random{5};
  ssize_t read(int fd, std::span<std::byte> into) override {
    if (random() % 4 == 0) return -EINTR;
    return FileSystem::read(fd, into.first(std::min<size_t>(into.size(), 1 + random() % 7)));
  }
  ssize_t write(int fd, Bytes bytes) override {
    if (random() % 4 == 0) return -EINTR;
    return FileSystem::write(fd, bytes.first(std::min<size_t>(bytes.size(), 1 + random() % 7)));
  }
  int fsync(int fd) override { return random() % 2 ? -EINTR : FileSystem::fsync(fd); }
};

}  // namespace

TEST(File, ReadsWhatWasWrittenInWhateverPieces) {
  Folder folder;
  Grudging disk;
  std::string text;
  for (int i = 0; i < 3000; ++i) text += static_cast<char>(i * 31);
  write_file(folder / "a", as_bytes(text), disk);
  EXPECT_EQ(read_file(folder / "a", 1 << 20, disk).take(), text);
  std::string streamed;
  EXPECT_FALSE(stream_file(
      folder / "a", [&](Bytes b) { streamed.append(reinterpret_cast<const char*>(b.data()), b.size()); }, disk));
  EXPECT_EQ(streamed, text);
  EXPECT_EQ(std::distance(stdfs::directory_iterator(folder.path), stdfs::directory_iterator()),
            1);  // no temporary left
}

TEST(File, RefusesWhatIsNoFile) {
  Folder folder;
  EXPECT_EQ(read_file(folder / "none").error().id, "E4103");
  EXPECT_EQ(read_file(folder / "none").error().exit, Exit::missing);
  EXPECT_EQ(read_file(folder.path).error().id, "E4105");
  ASSERT_EQ(mkfifo((folder / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(read_file(folder / "fifo").error().id, "E4105");  // and does not wait for a writer
  EXPECT_EQ(read_file("/dev/zero").error().id, "E4105");
  EXPECT_EQ(MappedFile::open(folder / "fifo").error().id, "E4105");
  stdfs::create_symlink("gone", folder / "link");
  EXPECT_NE(read_file(folder / "link").error().what.find("link"), std::string::npos);
  put(folder / "big", std::string(1001, 'x'));
  EXPECT_EQ(read_file(folder / "big", 1000).error().id, "E4106");
  EXPECT_EQ(read_file(folder / "big", 1001).take().size(), 1001u);
  EXPECT_FALSE(read_file("/proc/self/stat").take().empty());  // says it has 0 bytes
  EXPECT_EQ(read_file((folder.path / std::string(5000, 'a')).c_str()).error().id, "E4104");
}

TEST(File, AMapThatIsCutGivesZerosAndTells) {
  Folder folder;
  put(folder / "a", std::string(100'000, 'x'));
  auto map = MappedFile::open(folder / "a").take();
  EXPECT_EQ(map->bytes().size(), 100'000u);
  EXPECT_FALSE(map->damage());
  ASSERT_EQ(truncate((folder / "a").c_str(), 5000), 0);
  long x = 0, zero = 0;
  for (std::byte b : map->bytes()) (b == std::byte{'x'} ? x : zero) += 1;
  EXPECT_EQ(x, 5000);
  EXPECT_EQ(zero, 95'000);
  ASSERT_TRUE(map->damage());
  EXPECT_EQ(map->damage()->id, "E4108");
  EXPECT_NE(map->damage()->what.find("100,000 bytes, then 5,000"), std::string::npos);
}

TEST(File, AMapGivesBackWhatWasRead) {
  Folder folder;
  put(folder / "a", std::string(40'000'000, 'x'));
  auto map = MappedFile::open(folder / "a").take();
  auto resident = [] {  // bytes of this process in memory; proc(5), statm
    std::ifstream statm("/proc/self/statm");
    long size = 0, pages = 0;
    statm >> size >> pages;
    return pages * ::sysconf(_SC_PAGESIZE);
  };
  auto all_x = [&] { return std::ranges::all_of(map->bytes(), [](std::byte b) { return b == std::byte{'x'}; }); };
  EXPECT_TRUE(all_x());
  long before = resident();
  map->unload(map->bytes().subspan(100, 39'000'000));
  EXPECT_LT(resident(), before - 38'000'000);
  EXPECT_TRUE(all_x()) << "what is read again comes from the file";
  std::string elsewhere(100'000, 'y');
  map->unload(as_bytes(elsewhere));
  EXPECT_EQ(elsewhere, std::string(100'000, 'y'));
  EXPECT_FALSE(map->damage());
}

TEST(File, AForeignBusErrorStillKills) {
  Folder folder;
  put(folder / "a", "x");
  auto map = MappedFile::open(folder / "a").take();
  pid_t child = fork();
  if (child == 0) {
    raise(SIGBUS);
    raise(SIGBUS);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(File, AMapOfNothingIsEmpty) {
  Folder folder;
  put(folder / "a", "");
  EXPECT_TRUE(MappedFile::open(folder / "a").take()->bytes().empty());
}

TEST(File, ManyMapsGiveTheirPlacesBack) {
  Folder folder;
  put(folder / "a", "abc");
  for (int i = 0; i < 10'000; ++i) ASSERT_EQ(MappedFile::open(folder / "a").take()->bytes().size(), 3u);
}

// Fails the n-th action: for every n until nothing fails, the file is the old one or the new one, and the message is
// complete.
struct Failing : FileSystem {
  int left;
  int error;
  bool failed = false;
  explicit Failing(int n, int e) : left(n), error(e) {}
  bool now() {
    failed = failed || left == 1;
    return left-- == 1;
  }
  int create(const Path& p) override { return now() ? -error : FileSystem::create(p); }
  int open_folder(const Path& p) override { return now() ? -error : FileSystem::open_folder(p); }
  ssize_t write(int fd, Bytes b) override { return now() ? -error : FileSystem::write(fd, b); }
  int fsync(int fd) override { return now() ? -error : FileSystem::fsync(fd); }
  int rename(const Path& a, const Path& b) override { return now() ? -error : FileSystem::rename(a, b); }
};

TEST(File, AnyFailureLeavesTheOldOrTheNewFile) {
  for (int error : {ENOSPC, EIO, EDQUOT, EFBIG}) {
    bool clean = false;
    for (int n = 1; !clean; ++n) {
      ASSERT_LT(n, 20);
      Folder folder;
      put(folder / "a", "old");
      Failing disk(n, error);
      try {
        write_file(folder / "a", as_bytes("new content"), disk);
        clean = !disk.failed;
        EXPECT_TRUE(clean) << "a failed action was overlooked";
      } catch (const Failure& f) {
        EXPECT_TRUE(disk.failed);
        const Error& e = f.errors.at(0);
        EXPECT_EQ(e.exit, Exit::io);
        EXPECT_EQ(e.id, error == EIO ? "E4102" : "E4101");
        EXPECT_NE(e.where.find(folder.path.string()), std::string::npos);
        if (error != EIO) {
          EXPECT_NE(e.what.find("free on /"), std::string::npos);
        }
      }
      std::string now = read_file(folder / "a").take();
      EXPECT_TRUE(now == "old" || now == "new content") << now;
      EXPECT_EQ(std::distance(stdfs::directory_iterator(folder.path), stdfs::directory_iterator()), 1);
    }
  }
}

TEST(File, ARealSizeLimitIsSaidWithNumbers) {
  Folder folder;
  pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    rlimit limit{1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      write_file(folder / "a", as_bytes(std::string(5000, 'x')));
    } catch (const Failure& f) {
      bool good = f.errors[0].id == "E4101" && f.errors[0].what.find("4.0 kB more were needed") != std::string::npos;
      _exit(good ? 42 : 1);
    }
    _exit(2);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 42);
  EXPECT_TRUE(stdfs::is_empty(folder.path));
}

TEST(File, SpaceIsAskedForBefore) {
  Folder folder;
  struct Full : FileSystem {
    int64_t free_bytes(const Path&) override { return 5'400'000'000; }
  } disk;
  require_free(disk, folder / "not/yet/there", 5'400'000'000, "checkpoint-2000");
  try {
    require_free(disk, folder / "not/yet/there", 13'400'000'000, "checkpoint-2000 (+1 kept)",
                 "Last good: checkpoint-1500");
    FAIL();
  } catch (const Failure& f) {
    EXPECT_NE(std::string(f.what()).find("need 13.4 GB for checkpoint-2000 (+1 kept), 5.4 GB free on /"),
              std::string::npos);
    EXPECT_EQ(f.exit(), Exit::io);
  }
}

TEST(File, FoldersAreMadeWithParentsAndOnlyRemovedBelow) {
  Folder folder;
  make_folders(folder / "a/b/c/");
  make_folders(folder / "a/b/c");
  EXPECT_TRUE(stdfs::is_directory(folder / "a/b/c"));
  put(folder / "keep", "x");
  stdfs::create_symlink(folder / "keep", folder / "a/b/link");
  stdfs::create_directory_symlink(folder.path, folder / "a/b/up");
  EXPECT_EQ(remove_tree(real_file_system(), folder / "a"), 0);
  EXPECT_FALSE(stdfs::exists(folder / "a"));
  EXPECT_TRUE(stdfs::exists(folder / "keep"));
  put(folder / "f", "");
  EXPECT_THROW(make_folders(folder / "f/g"), Failure);
}

TEST(File, RandomNamesDiffer) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(seen.insert(random_hex(16)).second);
}

TEST(KillPoint, KillsAtTheNamedPass) {
  for (int n : {1, 3}) {
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    pid_t child = fork();
    if (child == 0) {
      arm_kill_point("here:" + std::to_string(n));
      for (;;) {
        kill_point("elsewhere");
        if (write(pipe_ends[1], "x", 1) != 1) _exit(1);
        kill_point("here");
      }
    }
    int status = 0;
    waitpid(child, &status, 0);
    close(pipe_ends[1]);
    char buffer[16];
    EXPECT_EQ(read(pipe_ends[0], buffer, sizeof buffer), n);
    close(pipe_ends[0]);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  }
}

TEST(NumberText, Reads) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(9949328904), "9,949,328,904");
  EXPECT_EQ(bytes_text(134), "134 bytes");
  EXPECT_EQ(bytes_text(13'400'000'000), "13.4 GB");
  EXPECT_EQ(bytes_text(999'999), "1.0 MB");
}
