// Checkpoints that exist wholly or not at all (docs/format-checkpoint.md).
//
// A checkpoint is written into `.tmp-STEP-UUID/` of the run's folder, every file hashed and synced, the manifest last,
// then renamed to `checkpoint-STEP/`; `latest` follows; only then are older ones pruned. So at every instant, through a
// kill or a power cut, the newest complete checkpoint is found again. Nothing that t2i did not write is ever removed.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"

namespace t2i {

struct FileRecord {
  std::string name;  // relative to the checkpoint, '/' between folders
  uint64_t bytes = 0;
  std::string xxh3;                 // XXH3-128 of all of it
  std::vector<std::string> pieces;  // of each 16 MiB, so that damage can be placed; empty for one piece
};

struct Committed {
  Path folder;                 // …/checkpoint-STEP
  std::vector<Error> notices;  // what did not matter enough to fail: an old checkpoint that could not be pruned
};

class CheckpointWriter {
 public:
  // Removes leftovers of dead runs (the caller holds the run's lock), checks the free space for `expected_bytes`
  // (0: unknown; E4101), makes the temporary folder.
  CheckpointWriter(Path output_folder, int64_t step, uint64_t expected_bytes, FileSystem& disk = real_file_system());
  ~CheckpointWriter();  // not finished: the temporary folder is removed
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  const Path& folder() const { return temporary_; }
  // Files reach the disk before these return. Throws Failure E4101/E4102; the checkpoints before it are untouched.
  void add_file(const std::string& name, const std::function<void(const ByteSink&)>& write);
  void add_file(const std::string& name, Bytes bytes);
  void add_file(FileRecord written);  // by another process into folder(), with write_checkpoint_file

  // `about` (an object) goes into the manifest as "state". Keeps the newest `keep` checkpoints (0: all).
  Committed finish(const Json& about, int keep);

 private:
  FileSystem& disk_;
  Path output_, temporary_;
  int64_t step_;
  std::vector<FileRecord> files_;
  bool done_ = false;
};

FileRecord write_checkpoint_file(const Path& folder, const std::string& name,
                                 const std::function<void(const ByteSink&)>& write,
                                 FileSystem& disk = real_file_system());

struct Checkpoint {
  Path folder;
  int64_t step = 0;
  Json state;                     // what was given to finish()
  std::vector<FileRecord> files;  // all verified
};

// Every byte against the manifest. E4112 names the file, the byte range and what is wrong.
Result<Checkpoint> verify_checkpoint(const Path& folder, FileSystem& disk = real_file_system());

struct NewestCheckpoint {
  std::optional<Checkpoint> checkpoint;  // nothing: there is none yet
  std::vector<Error> notices;            // newer ones that were passed over, and why
};
// The newest checkpoint whose every byte is right. E4113 where there are some and none is whole.
Result<NewestCheckpoint> find_newest_valid(const Path& output_folder, FileSystem& disk = real_file_system());

// checkpoint-STEP folders of `output_folder` that have a manifest, newest first, unverified.
std::vector<std::pair<int64_t, Path>> list_checkpoints(const Path& output_folder);

// Removes `.tmp-STEP-UUID` left by a killed run. Only while holding the run's lock.
void remove_leftovers(const Path& output_folder, FileSystem& disk = real_file_system());

}  // namespace t2i
