#include "core/cache/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include <utility>

#include "core/base/hash.h"
#include "core/base/kill_point.h"

namespace t2i {
namespace {

constexpr const char* marker_name = "t2i-cache.json";
constexpr int form = 1;
constexpr uint64_t alignment = 64;  // of an entry: tensors are read where they lie

std::string marker_text() { return "{\"what\": \"a cache of t2i: docs/cache.md\", \"form\": " + std::to_string(form) + "}\n"; }

[[noreturn]] void no_cache(const Path& folder, const std::string& what, const std::string& why) {
  fail({folder.string(), what, why, "give another folder with data.cache_dir", "E8070", Exit::config});
}

}  // namespace

void require_cache_folder(const Path& folder) {
  std::error_code error;
  if (!std::filesystem::exists(folder, error)) return;
  if (!std::filesystem::is_directory(folder, error)) no_cache(folder, "is no folder, so no cache can be in it", "");
  auto text = read_file(folder / marker_name, 4096);
  if (!text) {
    // Another process may be about to write it, under a name that begins with a dot.
    bool holds_files = false;
    for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
      holds_files = holds_files || !at->path().filename().string().starts_with('.');
    if (!holds_files || std::filesystem::exists(folder / marker_name)) return;
    no_cache(folder, "holds other files than a cache of t2i", std::string("There is no ") + marker_name + " in it");
  }
  const Json json = Json::parse(*text, nullptr, false);
  if (!json.is_object() || json.value("form", Json()) != form)
    no_cache(folder, "is a cache of another form than this t2i reads", "Another version of t2i has made it");
}

void make_cache_folder(const Path& folder, FileSystem& disk) {
  require_cache_folder(folder);
  make_folders(folder, disk);
  if (!std::filesystem::exists(folder / marker_name)) write_file(folder / marker_name, as_bytes(marker_text()), disk);
}

SegmentWriter::SegmentWriter(Path folder, std::string kind, FileSystem& disk)
    : folder_(std::move(folder)), kind_(std::move(kind)), disk_(disk) {}

SegmentWriter::~SegmentWriter() {
  if (index_ < 0) return;
  const bool empty = entries_ == 0;  // nothing of it was ever committed
  close();
  if (!empty) return;
  disk_.remove_file(index_path_);
  disk_.remove_file(data_path_);
}

void SegmentWriter::open() {
  const Path name = folder_ / (kind_ + "-" + random_hex(16));
  data_path_ = name.string() + ".data", index_path_ = name.string() + ".index";
  index_ = disk_.create(index_path_);
  if (index_ < 0) fail_write(disk_, index_path_, "making it", index_);
  ::flock(index_, LOCK_EX | LOCK_NB);  // nobody else knows the name yet
  data_ = disk_.create(data_path_);
  if (data_ < 0) fail_write(disk_, data_path_, "making it", data_);
  sync_folder(disk_, folder_);
  end_ = 0;
}

void SegmentWriter::close() {
  for (int* fd : {&data_, &index_})
    if (*fd >= 0) disk_.close(std::exchange(*fd, -1));
}

void SegmentWriter::add(CacheEntry entry, const std::vector<TensorSource>& tensors, const SafetensorsMetadata& metadata) {
  std::vector<std::byte> bytes;
  bytes.reserve(safetensors_size(tensors, metadata));
  stream_safetensors(tensors, metadata, [&](Bytes piece) { bytes.insert(bytes.end(), piece.begin(), piece.end()); });
  add_bytes(std::move(entry), bytes);
}

void SegmentWriter::add_bytes(CacheEntry entry, Bytes bytes) {
  if (index_ >= 0 && end_ >= largest_bytes) commit(), close();
  if (index_ < 0) open();
  kill_point("cache-append");
  static constexpr std::byte zeros[alignment] = {};
  const uint64_t gap = (alignment - end_ % alignment) % alignment;
  write_all(disk_, data_, Bytes(zeros, gap), data_path_, bytes.size());
  write_all(disk_, data_, bytes, data_path_);
  entry.offset = end_ + gap, entry.bytes = bytes.size(), entry.hash = xxh3_hex(bytes);
  if (!entry.made) entry.made = ::time(nullptr);
  end_ = entry.offset + entry.bytes;
  waiting_ += to_line(entry);
  ++waiting_entries_, waiting_bytes_ += bytes.size();
}

void SegmentWriter::commit() {
  if (waiting_.empty()) return;
  sync_file(disk_, data_, data_path_);
  kill_point("cache-data-synced");
  if (size_t half = waiting_.size() / 2; kill_points_armed) {  // a line that the power cut in two
    write_all(disk_, index_, as_bytes(waiting_).first(half), index_path_);
    kill_point("cache-line-half");
    write_all(disk_, index_, as_bytes(waiting_).subspan(half), index_path_);
  } else {
    write_all(disk_, index_, as_bytes(waiting_), index_path_);
  }
  kill_point("cache-index-written");
  sync_file(disk_, index_, index_path_);
  kill_point("cache-committed");
  entries_ += std::exchange(waiting_entries_, 0), bytes_ += std::exchange(waiting_bytes_, 0);
  waiting_.clear();
}

std::optional<SegmentLock> SegmentLock::take(const Path& index_path) {
  const int fd = ::open(index_path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return SegmentLock(fd);
  ::close(fd);
  return std::nullopt;
}

SegmentLock::SegmentLock(SegmentLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

SegmentLock::~SegmentLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace t2i
