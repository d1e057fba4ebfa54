#include "core/cache/store.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/base/hash.h"
#include "core/base/kill_point.h"
#include "core/base/number_text.h"
#include "core/cache/segment.h"

namespace t2i {
namespace {

std::vector<Path> index_files(const Path& folder) {
  std::vector<Path> files;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    if (at->path().extension() == ".index") files.push_back(at->path());
  if (error && std::filesystem::exists(folder))
    fail({folder.string(), "cannot be listed: " + error.message(), "", "check the permissions of the folder", "E4104", Exit::io});
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<CacheEntry> lines_of(const Path& index, size_t& passed_over) {
  std::vector<CacheEntry> entries;
  auto text = read_file(index, uint64_t{64} << 30);
  if (!text) return entries;  // removed since the folder was listed
  for (size_t at = 0; at < text->size();) {
    const size_t end = std::min(text->find('\n', at), text->size());
    if (auto entry = entry_of_line(std::string_view(*text).substr(at, end - at))) entries.push_back(std::move(*entry));
    else ++passed_over;
    at = end + 1;
  }
  return entries;
}

}  // namespace

CacheStore CacheStore::open(const Path& folder) {
  CacheStore store;
  store.folder_ = folder;
  require_cache_folder(folder);
  for (const Path& index : index_files(folder)) {
    Segment segment;
    segment.index_path = index;
    segment.data_path = Path(index).replace_extension(".data");
    // The lines first: what they tell of is in the data by then.
    std::vector<CacheEntry> entries = lines_of(index, segment.lines_passed_over);
    if (auto map = MappedFile::open(segment.data_path)) segment.map = map.take();
    else if (!entries.empty() && map.error().id != "E4103") fail(map.error());
    segment.file_bytes = segment.map ? segment.map->bytes().size() : 0;
    for (CacheEntry& entry : entries) {
      const bool there = entry.bytes <= segment.file_bytes && entry.offset <= segment.file_bytes - entry.bytes;
      if (!there) {
        ++segment.lines_passed_over;
        continue;
      }
      // Two builders may have made it at once; either is as good.
      if (!store.by_key_.emplace(entry.key, store.entries_.size()).second) continue;
      segment.live_bytes += entry.bytes;
      store.entries_.push_back({std::move(entry), store.segments_.size()});
    }
    store.segments_.push_back(std::move(segment));
  }
  return store;
}

const PlacedEntry* CacheStore::find(const std::string& key) const {
  auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : &entries_[found->second];
}

Result<Bytes> CacheStore::read(const PlacedEntry& placed) const {
  const Segment& segment = segments_[placed.segment];
  const CacheEntry& e = placed.entry;
  Bytes bytes = segment.map->bytes().subspan(e.offset, e.bytes);
  if (xxh3_hex(bytes) == e.hash) return bytes;
  return Error{segment.data_path.string(),
               fmt::format("the {} of '{}' are not what was written ({} at byte {})", e.kind, e.kind == "text" ? e.text : e.source,
                           bytes_text(e.bytes), e.offset),
               "The disk has lost them, or another program has written there",
               "t2i cache verify --fix takes out what is damaged; it is then built again",
               "E8071",
               Exit::io};
}

std::vector<std::string> CacheStore::notices() const {
  size_t lines = 0;
  std::string first;
  for (const Segment& s : segments_) {
    if (s.lines_passed_over && first.empty()) first = s.index_path.string();
    lines += s.lines_passed_over;
  }
  if (!lines) return {};
  return {fmt::format("{} of an interrupted build {} passed over ({}{}); t2i cache gc takes it away", lines == 1 ? "an entry" : fmt::format("{} entries", lines),
                      lines == 1 ? "is" : "are", first, lines == 1 ? "" : ", …")};
}

namespace {

// Every segment that nobody builds at the moment, by the name of its index. Taken before the lines are read: what is
// written in between would be lost.
std::map<Path, SegmentLock> lock_all(const Path& folder) {
  std::map<Path, SegmentLock> locks;
  for (const Path& index : index_files(folder))
    if (auto lock = SegmentLock::take(index)) locks.emplace(index, std::move(*lock));
  return locks;
}

bool wasteful(const Segment& s) {
  constexpr uint64_t slack = 4096;  // alignment between entries
  return s.lines_passed_over || s.file_bytes > s.live_bytes + s.live_bytes / 16 + slack;
}

bool is_of(const Segment& s, const std::string& kind) { return s.index_path.filename().string().starts_with(kind + "-"); }

void remove_segment(const Segment& segment) {
  real_file_system().remove_file(segment.index_path);
  kill_point("cache-index-removed");
  real_file_system().remove_file(segment.data_path);
}

// Data without an index: a removal that was interrupted. A segment that is being made is younger than a minute.
uint64_t remove_orphans(const Path& folder, bool dry_run) {
  uint64_t bytes = 0;
  std::vector<Path> gone;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->path().extension() != ".data" || std::filesystem::exists(Path(at->path()).replace_extension(".index"))) continue;
    if (std::filesystem::file_time_type::clock::now() - at->last_write_time() < std::chrono::minutes(1)) continue;
    bytes += at->file_size();
    gone.push_back(at->path());
  }
  if (!dry_run)
    for (const Path& path : gone) real_file_system().remove_file(path);
  return bytes;
}

}  // namespace

CacheChange remove_entries(const Path& folder, const std::function<bool(const CacheEntry&)>& goes, bool dry_run) {
  require_cache_folder(folder);
  const std::map<Path, SegmentLock> locks = lock_all(folder);
  const CacheStore store = CacheStore::open(folder);
  std::vector<std::string> kept(store.segments().size());
  std::vector<CacheChange> by_segment(store.segments().size());
  for (const PlacedEntry& placed : store.entries()) {
    CacheChange& own = by_segment[placed.segment];
    if (goes(placed.entry)) ++own.entries, own.bytes += placed.entry.bytes;
    else kept[placed.segment] += to_line(placed.entry);
  }
  CacheChange change;
  for (size_t s = 0; s < store.segments().size(); ++s) {
    const Segment& segment = store.segments()[s];
    if (!by_segment[s].entries) continue;
    if (!dry_run && !locks.contains(segment.index_path)) {
      change.in_use.push_back(segment.index_path.string());
      continue;
    }
    change.entries += by_segment[s].entries, change.bytes += by_segment[s].bytes;
    if (dry_run) continue;
    kill_point("cache-rm");
    if (!kept[s].empty()) {
      write_file(segment.index_path, as_bytes(kept[s]));
    } else {
      remove_segment(segment);
      change.freed_bytes += segment.file_bytes;
    }
  }
  return change;
}

CacheChange collect_garbage(const Path& folder, bool dry_run) {
  require_cache_folder(folder);
  const std::map<Path, SegmentLock> locks = lock_all(folder);
  const CacheStore store = CacheStore::open(folder);
  CacheChange change;
  std::vector<size_t> goes;
  std::set<std::string> kinds;
  for (const PlacedEntry& e : store.entries()) kinds.insert(e.entry.kind);
  for (size_t s = 0; s < store.segments().size(); ++s) {
    const Segment& segment = store.segments()[s];
    const bool free = locks.contains(segment.index_path);
    if (!free) change.in_use.push_back(segment.index_path.string());
    else if (segment.live_bytes == 0) goes.push_back(s);
  }
  for (const std::string& kind : kinds) {
    std::vector<size_t> from;  // wasteful ones, and small ones of which several make one
    bool worth_it = false;
    for (size_t s = 0; s < store.segments().size(); ++s) {
      const Segment& segment = store.segments()[s];
      if (!locks.contains(segment.index_path) || segment.live_bytes == 0 || !is_of(segment, kind)) continue;
      if (!wasteful(segment) && segment.file_bytes > SegmentWriter::largest_bytes / 4) continue;
      worth_it = worth_it || wasteful(segment);
      from.push_back(s);
    }
    if (from.size() < 2 && !worth_it) continue;  // a single tight file is as good as it gets
    goes.insert(goes.end(), from.begin(), from.end());
    change.segments_written += from.size();
    if (dry_run) continue;
    SegmentWriter writer(folder, kind);
    for (const PlacedEntry& placed : store.entries()) {
      if (!std::ranges::count(from, placed.segment)) continue;
      if (auto bytes = store.read(placed)) writer.add_bytes(placed.entry, *bytes);
      else ++change.entries, change.bytes += placed.entry.bytes;  // damaged: it is built again when it is wanted
      if (writer.waiting_bytes() > (uint64_t{256} << 20)) writer.commit();
    }
    writer.commit();
  }
  kill_point("cache-gc-written");
  for (size_t s : goes) {
    const Segment& segment = store.segments()[s];
    change.freed_bytes += segment.file_bytes - segment.live_bytes;
    if (!dry_run) remove_segment(segment);
  }
  change.freed_bytes += remove_orphans(folder, dry_run);
  if (!dry_run && !goes.empty()) sync_folder(real_file_system(), folder);
  return change;
}

}  // namespace t2i
