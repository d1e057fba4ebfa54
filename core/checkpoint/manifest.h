// manifest.json of a checkpoint: which files, how long, with which hashes; written last, so that its presence says that
// all others are there. It ends with a seal, the hash of its own text, so that damage to itself is found too.
#pragma once
#include <cstdint>
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
  std::vector<std::string> pieces;  // of each 16 MiB, so that damage can be placed; empty for a file of one piece
};
constexpr uint64_t piece_bytes = uint64_t{16} << 20;

struct Manifest {
  int64_t step = 0;
  std::vector<FileRecord> files;
  Json state = Json::object();
};

std::string manifest_text(const Manifest& manifest);

// E4103 there is none; E4112 it is damaged or not ours; E4114 written by a newer version.
Result<Manifest> parse_manifest(std::string_view text, const std::string& where);
Result<Manifest> read_manifest(const Path& folder, FileSystem& disk = real_file_system());

// Not absolute, no "..", no empty part, no hidden first letter: a name that stays inside the checkpoint.
bool is_inner_name(const std::string& name);

// Every byte of one file; E4112 says which are wrong.
std::optional<Error> verify_file(const Path& folder, const FileRecord& record, FileSystem& disk = real_file_system());

// Hashes as they go into a FileRecord, of bytes in order.
class RecordHash {
 public:
  RecordHash();
  ~RecordHash();
  void update(Bytes bytes);
  FileRecord record(std::string name);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace t2i
