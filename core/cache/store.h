// Reading a cache, and taking entries out of it. What was there when it was opened is seen; what others add meanwhile
// is not. Any thread may read.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/base/file.h"
#include "core/cache/entry.h"

namespace t2i {

// "latents-0f3a….index" and its data.
struct Segment {
  Path index_path, data_path;
  std::shared_ptr<const MappedFile> map;
  uint64_t file_bytes = 0, live_bytes = 0;  // of the data; of the entries in it
  size_t lines_passed_over = 0;             // cut, damaged, or without their data
};

struct PlacedEntry {
  CacheEntry entry;
  size_t segment = 0;
};

class CacheStore {
 public:
  // A folder that is not there is an empty cache. Failure E8070 where it is none, E4104 where it cannot be read.
  static CacheStore open(const Path& folder);

  const Path& folder() const { return folder_; }
  const PlacedEntry* find(const std::string& key) const;
  const std::vector<PlacedEntry>& entries() const { return entries_; }  // by segment, then as they were made
  const std::vector<Segment>& segments() const { return segments_; }

  // The entry's bytes, a .safetensors file, where they lie in memory while the store lives. E8071 where they are not
  // what was written.
  Result<Bytes> read(const PlacedEntry& entry) const;

  // "latents: 2 lines that were cut short are passed over (…)": what an interrupted builder left, a line each.
  std::vector<std::string> notices() const;

 private:
  Path folder_;
  std::vector<Segment> segments_;
  std::vector<PlacedEntry> entries_;
  std::unordered_map<std::string, size_t> by_key_;
};

struct CacheChange {
  uint64_t entries = 0, bytes = 0;   // taken out
  uint64_t segments_written = 0;     // whose bytes were copied
  uint64_t freed_bytes = 0;          // that the disk has again
  std::vector<std::string> in_use;   // segments that another process builds: they stay as they are
};

// Takes the entries out that `goes` says so of. Their bytes stay in the files until collect_garbage(). Who reads the
// cache at the time keeps what it has opened.
CacheChange remove_entries(const Path& folder, const std::function<bool(const CacheEntry&)>& goes, bool dry_run = false);

// Copies what is alive into as few files as it takes and removes the others: bytes of entries that were taken out,
// tails that were never committed, entries that are there twice.
CacheChange collect_garbage(const Path& folder, bool dry_run = false);

}  // namespace t2i
