// Writing a cache. A segment is two files of the cache's folder: NAME.data, tensors one behind another, and NAME.index,
// a line for each (entry.h). A process that builds has segments of its own, so several build at once. The order is
// data, fsync, lines, fsync: whatever line can be read tells of data that is there, and a line that was being written
// when the power went is not whole and is passed over. Nothing that was committed is ever written again.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/base/file.h"
#include "core/cache/entry.h"
#include "core/checkpoint/safetensors.h"

namespace t2i {

// Makes the folder of a cache where there is none. E8070 where `folder` holds something else, or another form of cache.
void make_cache_folder(const Path& folder, FileSystem& disk = real_file_system());
// The same question of a folder that need not be there: nothing is made.
void require_cache_folder(const Path& folder);

class SegmentWriter {
 public:
  static constexpr uint64_t largest_bytes = uint64_t{4} << 30;  // a segment that is as large is followed by another

  // Files are made with the first entry. `disk` must outlive the writer.
  SegmentWriter(Path folder, std::string kind, FileSystem& disk = real_file_system());
  ~SegmentWriter();  // what was not committed is lost
  SegmentWriter(const SegmentWriter&) = delete;
  SegmentWriter& operator=(const SegmentWriter&) = delete;

  // Appends the tensors; `entry`'s offset, bytes, hash and time are set here. Not seen by anyone before commit().
  void add(CacheEntry entry, const std::vector<TensorSource>& tensors, const SafetensorsMetadata& metadata = {});
  // The same of bytes that were such an entry's already.
  void add_bytes(CacheEntry entry, Bytes bytes);
  // On the disk, whatever happens now. What was committed, entries and bytes, since the writer was made:
  void commit();
  uint64_t entries() const { return entries_; }
  uint64_t bytes() const { return bytes_; }
  uint64_t waiting_bytes() const { return waiting_bytes_; }  // added and not committed

 private:
  void open();
  void close();

  const Path folder_;
  const std::string kind_;
  FileSystem& disk_;
  Path data_path_, index_path_;
  int data_ = -1, index_ = -1;
  uint64_t end_ = 0, waiting_bytes_ = 0, entries_ = 0, bytes_ = 0;
  std::string waiting_;  // lines of what is not committed
  uint64_t waiting_entries_ = 0;
};

// Held by a process that writes or rewrites a segment. Nothing where another does; `holder` then says who, as far as
// the system tells.
class SegmentLock {
 public:
  static std::optional<SegmentLock> take(const Path& index_path);
  SegmentLock(SegmentLock&& other) noexcept;
  SegmentLock& operator=(SegmentLock&&) = delete;
  ~SegmentLock();

 private:
  explicit SegmentLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace t2i
