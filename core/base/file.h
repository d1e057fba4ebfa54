// Files: whole reads with a limit, memory maps that survive truncation, and writes that are either done or never seen.
//
// Whatever changes the disk goes through a FileSystem that is passed in, so that a test can fail the n-th write, drop
// what was not synced, or record every action. Functions without such an argument change nothing.
//
// Failures: reading returns Result (E4103 not there, E4104 unreadable, E4105 not a regular file, E4106 too large,
// E4108 changed meanwhile); writing throws Failure (E4101 no space, with bytes needed and free; E4102 anything else).
#pragma once
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/base/kill_point.h"

namespace t2i {

using Path = std::filesystem::path;
using Bytes = std::span<const std::byte>;
using ByteSink = std::function<void(Bytes)>;  // takes the next piece of a stream

inline Bytes as_bytes(std::string_view text) { return {reinterpret_cast<const std::byte*>(text.data()), text.size()}; }

// The system calls that change a disk, and read(). Each returns what the call returns, or −errno. Not retried, not
// interpreted: that is done above, once, so that it is tested too.
struct FileSystem {
  virtual ~FileSystem() = default;
  virtual int create(const Path& path);                     // new file for writing (O_EXCL), a descriptor
  virtual int open_folder(const Path& path);                // to fsync it, a descriptor
  virtual ssize_t read(int fd, std::span<std::byte> into);  // may read less than asked; 0 at the end
  virtual ssize_t write(int fd, Bytes bytes);               // may write less than asked
  virtual int fsync(int fd);
  virtual int close(int fd);
  virtual int rename(const Path& from, const Path& to);           // replaces `to`
  virtual int rename_new(const Path& from, const Path& to);       // −EEXIST where `to` exists
  virtual int rename_exchange(const Path& from, const Path& to);  // both exist, swapped at once
  virtual int symlink(const Path& target, const Path& at);
  virtual int make_folder(const Path& path);
  virtual int remove_file(const Path& path);     // a file or a link
  virtual int remove_folder(const Path& path);   // an empty one
  virtual int64_t free_bytes(const Path& path);  // for this user, on the disk that holds `path`
};
FileSystem& real_file_system();

// Throws E4101/E4102 for −errno of an action on `path`; `doing` is "writing", "renaming" …
[[noreturn]] void fail_write(FileSystem& disk, const Path& path, const char* doing, int negative_errno,
                             uint64_t bytes_needed = 0);

// ---- reading ----

// A descriptor of a regular file, for reading; the caller closes it. Never waits.
Result<int> open_regular_file(const Path& path);

// The whole file. Only regular files (no pipe, no device: nothing that could block or never end); symlinks are
// followed.
Result<std::string> read_file(const Path& path, uint64_t limit_bytes = uint64_t{256} << 20,
                              FileSystem& disk = real_file_system());

// Calls `take` with successive pieces of the file (at most 1 MiB each); what it reads is what the size said at the
// start, else E4108.
std::optional<Error> stream_file(const Path& path, const ByteSink& take, FileSystem& disk = real_file_system());

// A read-only map of a whole regular file. Should another process shorten the file meanwhile, reads of the lost part
// give zeros instead of a SIGBUS, and damage() tells: ask it after using the bytes.
class MappedFile {
 public:
  static Result<std::shared_ptr<const MappedFile>> open(const Path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  Bytes bytes() const { return bytes_; }
  const Path& path() const { return path_; }
  std::optional<Error> damage() const;  // E4108 when it was changed or cut since it was opened
  // These bytes of the map were read and need no memory of this process any more; they may be read again all the same.
  void unload(Bytes part) const;

 private:
  MappedFile() = default;
  Path path_;
  Bytes bytes_;
  int fd_ = -1;
  int64_t changed_ns_ = 0;  // when the file was last changed, as of opening
  int slot_ = -1;           // in the table that the SIGBUS handler reads
};

// ---- writing ----

// A new file beside its final name, synced and renamed onto it by commit(); before that nobody sees it, and without it
// nothing is left.
class AtomicFile {
 public:
  explicit AtomicFile(Path path, FileSystem& disk = real_file_system());
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(Bytes bytes);
  void commit();  // fsync, rename, fsync of the folder

 private:
  FileSystem& disk_;
  Path path_, temporary_;
  int fd_ = -1;
};

void write_file(const Path& path, Bytes bytes, FileSystem& disk = real_file_system());  // through AtomicFile
// Loops over EINTR and short writes. `needed_after`: bytes that will follow, for the message of a full disk.
void write_all(FileSystem& disk, int fd, Bytes bytes, const Path& path, uint64_t needed_after = 0);
void sync_file(FileSystem& disk, int fd, const Path& path);
void sync_folder(FileSystem& disk, const Path& folder);
void make_folders(const Path& folder, FileSystem& disk = real_file_system());  // with parents; there already is fine
// Removes `path` and all below it, following no link. Returns the first −errno, or 0.
int remove_tree(FileSystem& disk, const Path& path);

// E4101 unless `bytes` fit on the disk that holds `folder` (or its nearest existing parent). `what` begins the message:
// "checkpoint-2000 (+1 kept)"; `why` says what is still good.
void require_free(FileSystem& disk, const Path& folder, uint64_t bytes, const std::string& what,
                  const std::string& why = "");

std::string random_hex(size_t digits);  // from the operating system, for names that nobody else uses

}  // namespace t2i
