// Reading the files of a data folder: a path cannot leave the folder, and nothing that is opened can block or never
// end.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/base/error.h"

namespace t2i {

// An open file descriptor, closed with its owner.
class Fd {
  int fd_ = -1;

 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Fd& operator=(Fd&& other) noexcept;
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd();
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
};

struct OpenedFile {
  Fd fd;
  uint64_t bytes = 0;
};

// A regular file anywhere. In messages it is `subject` ("file_name 'a.png'"), found at `where`.
// Errors: E3008 not there, E3010 not a regular file, or not readable.
Result<OpenedFile> open_file(const std::string& path, const std::string& where, const std::string& subject);

// All bytes of an open file, at most max_bytes (E3007).
Result<std::vector<std::byte>> read_all(OpenedFile file, uint64_t max_bytes, const std::string& where,
                                        const std::string& subject);

// A folder from which files are opened by relative path.
class DataFolder {
  Fd fd_;
  std::string root_;    // as given
  std::string real_;    // without links
  std::string prefix_;  // from the folder that fd_ is to the root; not empty only in a Hugging Face hub cache
  bool allow_outside_ = false;

 public:
  DataFolder(const std::string& root, bool allow_outside);  // a root that cannot be opened shows with the first file

  // As open_file, and E3005 where `path` leads out of the folder and that is not allowed.
  Result<OpenedFile> open(const std::string& path, const std::string& where, const std::string& subject) const;
};

}  // namespace t2i
