#include "core/data/file.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>

namespace t2i {
namespace {

// O_NONBLOCK: opening a FIFO without a writer would wait for one for ever.
constexpr int open_flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

std::string real_path(const std::string& path) {
  std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr), &std::free);
  return real ? std::string(real.get()) : std::string();
}

bool lies_in(const std::string& real, const std::string& folder) {
  return real == folder || folder == "/" ||
         (real.size() > folder.size() && real.starts_with(folder) && real[folder.size()] == '/');
}

Error not_opened(int error, const std::string& path, const std::string& where, const std::string& subject) {
  if (error == ENOENT || error == ENOTDIR) {
    std::string todo = "check the path";
    if (path.find('\\') != std::string::npos) todo = "write the path with / (it has backslashes, as on Windows)";
    std::error_code ignored;
    if (std::filesystem::is_symlink(std::filesystem::symlink_status(path, ignored)))
      return {where,   subject + " is a link to a file that is not there",
              "",      "restore the file that it points to",
              "E3008", Exit::missing};
    return {where, subject + " is not there", "", todo, "E3008", Exit::missing};
  }
  std::string todo = "make it readable for this user";
  if (error == ELOOP) todo = "remove the circle of links";
  if (error == ENAMETOOLONG) todo = "use a shorter path";
  if (error == EMFILE || error == ENFILE) todo = "raise the limit of open files (ulimit -n)";
  return {where, subject + " cannot be opened: " + std::strerror(error), "", todo, "E3010", Exit::bad_data};
}

Result<OpenedFile> checked(Fd fd, const std::string& where, const std::string& subject) {
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0)
    return Error{where, subject + " cannot be read: " + std::strerror(errno), "", "", "E3010", Exit::io};
  if (!S_ISREG(info.st_mode)) {
    const char* kind = S_ISDIR(info.st_mode)    ? "a folder"
                       : S_ISFIFO(info.st_mode) ? "a FIFO"
                       : S_ISCHR(info.st_mode)  ? "a character device"
                       : S_ISBLK(info.st_mode)  ? "a block device"
                                                : "a socket";
    return Error{where,   subject + " is " + std::string(kind) + ", not a file",
                 "",      "name a regular file",
                 "E3010", Exit::bad_data};
  }
  return OpenedFile{std::move(fd), static_cast<uint64_t>(info.st_size)};
}

std::optional<Error> unusable_name(const std::string& path, const std::string& where, const std::string& subject) {
  if (path.empty()) return Error{where, subject + " is empty", "", "name a file", "E3008", Exit::missing};
  if (path.find('\0') != std::string::npos)
    return Error{where, subject + " has a NUL byte in it", "", "write a plain path", "E3005", Exit::bad_data};
  return std::nullopt;
}

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Fd::~Fd() {
  if (fd_ >= 0) ::close(fd_);
}

Result<OpenedFile> open_file(const std::string& path, const std::string& where, const std::string& subject) {
  if (auto error = unusable_name(path, where, subject)) return *error;
  Fd fd(::open(path.c_str(), open_flags));
  if (!fd) return not_opened(errno, path, where, subject);
  return checked(std::move(fd), where, subject);
}

Result<std::vector<std::byte>> read_all(OpenedFile file, uint64_t max_bytes, const std::string& where,
                                        const std::string& subject) {
  if (file.bytes > max_bytes)
    return Error{where,
                 subject + " has " + std::to_string(file.bytes) + " bytes, more than the " + std::to_string(max_bytes) +
                     " that are read",
                 "",
                 "use a smaller file",
                 "E3007",
                 Exit::bad_data};
  std::vector<std::byte> bytes(file.bytes);
  size_t have = 0;
  while (have < bytes.size()) {
    ssize_t got = ::read(file.fd.get(), bytes.data() + have, bytes.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      return Error{where,   subject + " cannot be read: " + std::strerror(errno), "", "check the disk", "E3010",
                   Exit::io};
    if (got == 0) break;  // shortened since it was opened: what is missing shows when it is parsed
    have += static_cast<size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

DataFolder::DataFolder(const std::string& root, bool allow_outside) : root_(root), allow_outside_(allow_outside) {
  real_ = real_path(root);
  // In a hub cache, …/datasets--org--name/snapshots/REVISION/a.png is a link to ../../blobs/HASH: the folder that must
  // not be left is then the repository's, not the snapshot's.
  if (size_t at = real_.find("/snapshots/"); at != std::string::npos) {
    std::string repository = real_.substr(0, at);
    std::error_code ignored;
    if (repository.find("--", repository.rfind('/') + 1) != std::string::npos &&
        std::filesystem::is_directory(repository + "/blobs", ignored)) {
      prefix_ = real_.substr(at + 1) + "/";
      real_ = repository;
    }
  }
  fd_ = Fd(::open(real_.empty() ? root.c_str() : real_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

Result<OpenedFile> DataFolder::open(const std::string& path, const std::string& where,
                                    const std::string& subject) const {
  if (auto error = unusable_name(path, where, subject)) return *error;
  std::string full = path.starts_with('/') ? path : root_ + "/" + path;
  if (allow_outside_) return open_file(full, where, subject);
  Error outside{where,   subject + " leaves the data folder",
                "",      "move the file in, or set data.allow_outside: true",
                "E3005", Exit::bad_data};
  if (path.starts_with('/')) return outside;

  struct open_how how {};
  how.flags = open_flags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  for (int attempt = 0; attempt < 8; ++attempt) {  // EAGAIN: something was renamed while the kernel looked
    Fd fd(static_cast<int>(::syscall(SYS_openat2, fd_.get(), (prefix_ + path).c_str(), &how, sizeof how)));
    if (fd) return checked(std::move(fd), where, subject);
    if (errno == EAGAIN || errno == EINTR) continue;
    if (errno == EXDEV) return outside;
    if (errno != ENOSYS && errno != EPERM) return not_opened(errno, full, where, subject);
    break;
  }
  // No openat2 here (an old kernel, some container sandboxes): compare the resolved path instead.
  std::string real = real_path(full);
  if (real.empty()) return not_opened(errno, full, where, subject);
  if (!lies_in(real, real_)) return outside;
  return open_file(real, where, subject);
}

}  // namespace t2i
