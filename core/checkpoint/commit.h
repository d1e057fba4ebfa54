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
#include "core/checkpoint/manifest.h"

namespace t2i {

struct Committed {
  Path folder;                 // …/checkpoint-STEP
  std::vector<Error> notices;  // what did not matter enough to fail: an old checkpoint that could not be pruned
};

class CheckpointWriter {
 public:
  // Checks that `expected_bytes` are free (0: unknown; E4101) and makes the temporary folder.
  CheckpointWriter(Path output_folder, int64_t step, uint64_t expected_bytes, FileSystem& disk = real_file_system());
  ~CheckpointWriter();  // not finished: the temporary folder is removed
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  const Path& folder() const { return temporary_; }
  // `write` hands the file's bytes to the sink; they are on the disk before this returns. Throws Failure E4101/E4102;
  // the checkpoints before this one are untouched.
  void add_file(const std::string& name, const std::function<void(const ByteSink&)>& write);
  void add_file(const std::string& name, Bytes bytes);
  void add_file(FileRecord written);  // by another process into folder(), with write_checkpoint_file

  // Makes it a checkpoint. `state` (an object) is kept in the manifest. The newest `keep` stay (0: all), this one among
  // them. Where checkpoint-STEP is there already it is replaced; what t2i did not write is moved aside, never removed.
  Committed finish(const Json& state, int keep);

 private:
  void publish(std::vector<Error>& notices);

  FileSystem& disk_;
  Path output_, target_, temporary_;
  uint64_t still_expected_;
  Manifest manifest_;
  bool published_ = false;
};

// `expected_bytes`: of this and all later files, for the message of a full disk.
FileRecord write_checkpoint_file(const Path& folder, const std::string& name,
                                 const std::function<void(const ByteSink&)>& write,
                                 FileSystem& disk = real_file_system(), uint64_t expected_bytes = 0);

struct Checkpoint {
  Path folder;
  Manifest manifest;
};

// Every byte against the manifest. E4112 names the file, the byte range and what is wrong.
Result<Checkpoint> verify_checkpoint(const Path& folder, FileSystem& disk = real_file_system());

struct NewestCheckpoint {
  std::optional<Checkpoint> checkpoint;  // nothing: there is none yet
  std::vector<Error> notices;            // newer ones that were passed over, and why
};
// The newest checkpoint whose every byte is right. E4113 where t2i wrote some and none is whole.
Result<NewestCheckpoint> find_newest_valid(const Path& output_folder, FileSystem& disk = real_file_system());

// Folders named checkpoint-STEP in `output_folder`, newest first; nothing is looked into.
std::vector<std::pair<int64_t, Path>> list_checkpoints(const Path& output_folder);

// Removes what a killed run left half done: `.tmp-STEP-UUID` folders and unfinished files. To be called once at the
// start of a run, while holding its lock. Returns notices.
std::vector<Error> remove_leftovers(const Path& output_folder, FileSystem& disk = real_file_system());

}  // namespace t2i
