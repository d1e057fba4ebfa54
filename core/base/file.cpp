#include "core/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "core/base/number_text.h"

namespace t2i {
namespace {

template <class T>
T or_errno(T returned) {
  return returned < 0 ? static_cast<T>(-errno) : returned;
}

// A read() that was interrupted starts again; EIO and the like come back as −errno.
ssize_t read_some(FileSystem& disk, int fd, std::span<std::byte> into) {
  ssize_t n;
  do n = disk.read(fd, into);
  while (n == -EINTR);
  return n;
}

struct OpenFile {
  int fd = -1;
  uint64_t size = 0;
  OpenFile() = default;
  OpenFile(OpenFile&& other) noexcept : fd(std::exchange(other.fd, -1)), size(other.size) {}
  ~OpenFile() {
    if (fd >= 0) ::close(fd);
  }
};

Result<OpenFile> open_file(const Path& path) {
  OpenFile file;
  Result<int> fd = open_regular_file(path);
  if (!fd) return fd.error();
  file.fd = *fd;
  struct stat status {};
  if (::fstat(file.fd, &status) == 0) file.size = static_cast<uint64_t>(status.st_size);
  return file;
}

Error unreadable(const Path& path, ssize_t negative_errno) {
  return {path.string(),
          std::string("cannot be read: ") + strerror(static_cast<int>(-negative_errno)),
          "",
          "check the disk, or get the file anew",
          "E4104",
          Exit::io};
}

}  // namespace

int FileSystem::create(const Path& path) {
  return or_errno(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
}
int FileSystem::open_folder(const Path& path) {
  return or_errno(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}
ssize_t FileSystem::read(int fd, std::span<std::byte> into) { return or_errno(::read(fd, into.data(), into.size())); }
ssize_t FileSystem::write(int fd, Bytes bytes) { return or_errno(::write(fd, bytes.data(), bytes.size())); }
int FileSystem::fsync(int fd) { return or_errno(::fsync(fd)); }
int FileSystem::close(int fd) { return or_errno(::close(fd)); }
int FileSystem::rename(const Path& from, const Path& to) { return or_errno(::rename(from.c_str(), to.c_str())); }
int FileSystem::rename_new(const Path& from, const Path& to) {
  return or_errno(::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE));
}
int FileSystem::rename_exchange(const Path& from, const Path& to) {
  return or_errno(::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE));
}
int FileSystem::symlink(const Path& target, const Path& at) { return or_errno(::symlink(target.c_str(), at.c_str())); }
int FileSystem::make_folder(const Path& path) { return or_errno(::mkdir(path.c_str(), 0777)); }
int FileSystem::remove_file(const Path& path) { return or_errno(::unlink(path.c_str())); }
int FileSystem::remove_folder(const Path& path) { return or_errno(::rmdir(path.c_str())); }
int64_t FileSystem::free_bytes(const Path& path) {
  struct statvfs s {};
  if (::statvfs(path.c_str(), &s) < 0) return -errno;
  return static_cast<int64_t>(s.f_bavail) * static_cast<int64_t>(s.f_frsize);
}

FileSystem& real_file_system() {
  static FileSystem disk;
  return disk;
}

// ---- failures ----

namespace {

Path nearest_existing(Path path) {
  std::error_code error;
  path = std::filesystem::absolute(path, error);
  while (path.has_relative_path() && !std::filesystem::exists(path, error)) path = path.parent_path();
  return path;
}

Path mount_point(const Path& path) {
  Path at = nearest_existing(path);
  struct stat here {
  }, above{};
  if (::stat(at.c_str(), &here) < 0) return at;
  while (at.has_relative_path() && ::stat(at.parent_path().c_str(), &above) == 0 && above.st_dev == here.st_dev)
    at = at.parent_path();
  return at;
}

}  // namespace

void fail_write(FileSystem& disk, const Path& path, const char* doing, int negative_errno, uint64_t bytes_needed) {
  int e = -negative_errno;
  if (e == ENOSPC || e == EDQUOT || e == EFBIG) {
    int64_t free = disk.free_bytes(nearest_existing(path));
    std::string what = std::string(strerror(e)) + " while " + doing;
    if (bytes_needed) what += ": " + bytes_text(bytes_needed) + " more were needed";
    if (free >= 0)
      what += (bytes_needed ? ", " : ": ") + bytes_text(free) + " are free on " + mount_point(path).string();
    fail({path.string(), what, "Nothing that was there before has been changed",
          e == ENOSPC ? "free space, then run the same command again"
                      : "raise the limit (quota, ulimit -f), then run the same command again",
          "E4101", Exit::io});
  }
  fail({path.string(), std::string(strerror(e)) + " while " + doing, "Nothing that was there before has been changed",
        e == EACCES || e == EPERM || e == EROFS ? "give an output folder that you may write to"
                                                : "check the disk, then run the same command again",
        "E4102", Exit::io});
}

void require_free(FileSystem& disk, const Path& folder, uint64_t bytes, const std::string& what,
                  const std::string& why) {
  int64_t free = disk.free_bytes(nearest_existing(folder));
  if (free < 0 || static_cast<uint64_t>(free) >= bytes) return;  // unknown: let the write itself find out
  fail({folder.string(),
        "need " + bytes_text(bytes) + " for " + what + ", " + bytes_text(free) + " free on " +
            mount_point(folder).string(),
        why,
        "free space, then run the same command again; or keep fewer checkpoints (checkpoint.keep), or set output to "
        "another disk",
        "E4101", Exit::io});
}

// ---- reading ----

Result<int> open_regular_file(const Path& path) {
  // Without O_NONBLOCK, opening a FIFO would wait for its writer for ever.
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR) {
      std::error_code ignored;
      bool dangling = std::filesystem::is_symlink(std::filesystem::symlink_status(path, ignored));
      return Error{path.string(),
                   dangling ? "is a link to a file that is not there" : "there is no such file",
                   "",
                   "check the path",
                   "E4103",
                   Exit::missing};
    }
    return Error{path.string(),
                 std::string("cannot be opened: ") + strerror(errno),
                 "",
                 "check the permissions of the file and its folders",
                 "E4104",
                 Exit::io};
  }
  struct stat status {};
  if (::fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) return fd;
  ::close(fd);
  return Error{
      path.string(),
      S_ISDIR(status.st_mode) ? "is a folder, not a file" : "is not a regular file (a pipe, a device or a socket)",
      "",
      "give the path of a file",
      "E4105",
      Exit::bad_data};
}

Result<std::string> read_file(const Path& path, uint64_t limit_bytes, FileSystem& disk) {
  Result<OpenFile> file = open_file(path);
  if (!file) return file.error();
  auto too_large = [&] {
    return Error{path.string(),
                 "is larger than the " + bytes_text(limit_bytes) + " that are read of such a file",
                 "",
                 "check that this is the right file",
                 "E4106",
                 Exit::bad_data};
  };
  uint64_t size = file->size;
  if (size > limit_bytes) return too_large();
  std::string text(size + 1, '\0');  // one more, so that the end is seen without growing
  size_t filled = 0;
  for (;;) {
    ssize_t n = read_some(disk, file->fd, std::as_writable_bytes(std::span(text)).subspan(filled));
    if (n < 0) return unreadable(path, n);
    if (n == 0) break;
    filled += static_cast<size_t>(n);
    if (filled > limit_bytes) return too_large();  // it grew, or is one of the kernel's files that say size 0
    if (filled == text.size()) text.resize(text.size() * 2);
  }
  text.resize(filled);
  return text;
}

std::optional<Error> stream_file(const Path& path, const ByteSink& take, FileSystem& disk) {
  Result<OpenFile> file = open_file(path);
  if (!file) return file.error();
  const uint64_t size = file->size;
  uint64_t done = 0;
  std::vector<std::byte> buffer(std::min<uint64_t>(size, 1 << 20));
  while (done < size) {
    ssize_t n = read_some(disk, file->fd, std::span(buffer).first(std::min<uint64_t>(buffer.size(), size - done)));
    if (n < 0) return unreadable(path, n);
    if (n == 0)
      return Error{path.string(),
                   "became shorter while it was read: " + grouped(size) + " bytes, then " + grouped(done),
                   "Another program is writing to it",
                   "wait for that, then run the same command again",
                   "E4108",
                   Exit::io};
    take(std::span(buffer).first(static_cast<size_t>(n)));
    done += static_cast<uint64_t>(n);
  }
  return std::nullopt;
}

// ---- writing ----

void write_all(FileSystem& disk, int fd, Bytes bytes, const Path& path, uint64_t needed_after) {
  while (!bytes.empty()) {
    ssize_t n = disk.write(fd, bytes.first(std::min<size_t>(bytes.size(), size_t{1} << 30)));
    if (n == -EINTR) continue;
    if (n == 0) n = -EIO;  // a disk that takes nothing and says nothing would be asked for ever
    if (n < 0) fail_write(disk, path, "writing", static_cast<int>(n), bytes.size() + needed_after);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void sync_file(FileSystem& disk, int fd, const Path& path) {
  int synced;
  do synced = disk.fsync(fd);
  while (synced == -EINTR);
  if (synced < 0) fail_write(disk, path, "syncing", synced);
}

void sync_folder(FileSystem& disk, const Path& folder) {
  int fd = disk.open_folder(folder);
  if (fd < 0) fail_write(disk, folder, "opening the folder", fd);
  int synced;
  do synced = disk.fsync(fd);
  while (synced == -EINTR);
  disk.close(fd);
  if (synced < 0 && synced != -EINVAL)
    fail_write(disk, folder, "syncing the folder", synced);  // EINVAL: has no such thing
}

void make_folders(const Path& folder, FileSystem& disk) {
  std::error_code error;
  if (folder.empty() || std::filesystem::is_directory(folder, error)) return;
  Path parent = folder.has_filename() ? folder.parent_path() : folder.parent_path().parent_path();
  if (!parent.empty() && parent != folder) make_folders(parent, disk);
  int made = disk.make_folder(folder);
  if (made == -EEXIST && std::filesystem::is_directory(folder, error)) return;  // another process was faster
  if (made == -EEXIST || made == -ENOTDIR)
    fail({folder.string(), "is there and is not a folder", "", "give another path, or move what is there away", "E4102",
          Exit::io});
  if (made < 0) fail_write(disk, folder, "making the folder", made);
  sync_folder(disk, parent.empty() ? "." : parent);
}

int remove_tree(FileSystem& disk, const Path& path) {
  std::error_code error;
  int first = 0;
  auto note = [&](int returned) {
    if (returned < 0 && first == 0) first = returned;
  };
  if (std::filesystem::is_directory(std::filesystem::symlink_status(path, error))) {
    std::vector<Path> inside;
    for (std::filesystem::directory_iterator at(path, error), end; !error && at != end; at.increment(error))
      inside.push_back(at->path());
    if (error) note(-error.value());
    for (const Path& p : inside) note(remove_tree(disk, p));
    note(disk.remove_folder(path));
  } else {
    note(disk.remove_file(path));
  }
  return first;
}

AtomicFile::AtomicFile(Path path, FileSystem& disk) : disk_(disk), path_(std::move(path)) {
  temporary_ = path_.parent_path() / ("." + path_.filename().string() + ".tmp-" + random_hex(16));
  fd_ = disk_.create(temporary_);
  if (fd_ < 0) fail_write(disk_, path_, "creating the file", fd_);
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) disk_.close(fd_);
  if (!temporary_.empty()) disk_.remove_file(temporary_);
}

void AtomicFile::write(Bytes bytes) { write_all(disk_, fd_, bytes, path_); }

void AtomicFile::commit() {
  sync_file(disk_, fd_, path_);
  int closed = disk_.close(std::exchange(fd_, -1));
  if (closed < 0 && closed != -EINTR) fail_write(disk_, path_, "closing", closed);
  kill_point("file-renaming");
  int renamed = disk_.rename(temporary_, path_);
  if (renamed < 0) fail_write(disk_, path_, "renaming", renamed);
  temporary_.clear();
  kill_point("file-renamed");
  sync_folder(disk_, path_.has_parent_path() ? path_.parent_path() : ".");
}

void write_file(const Path& path, Bytes bytes, FileSystem& disk) {
  AtomicFile file(path, disk);
  file.write(bytes);
  file.commit();
}

std::string random_hex(size_t digits) {
  std::string out;
  while (out.size() < digits) {
    unsigned char byte = 0;
    while (::getrandom(&byte, 1, 0) != 1) {
    }
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

}  // namespace t2i
