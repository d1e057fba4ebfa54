// What there is to train on: a list of rows, each naming its images and texts. Nothing is decoded here.
//
// Three layouts, found by looking:
//   a tree of images with captions beside them    cat.png + cat.txt, in any depth; columns "image" and "text"
//   metadata.jsonl as Hugging Face's imagefolder  {"file_name": …} is column "image", {"X_file_name": …} column "X",
//                                                 every other field a column of its own name; here or in subfolders
//   any other .jsonl with plain path fields       {"input_image": "a.png", "instruction": "…", "output_image": "b.png"}
// Image paths are relative to the .jsonl's folder and cannot leave it: no "..", absolute path or symbolic link out,
// unless allow_outside says so. (The links of a Hugging Face hub cache may reach that repository's own blobs.)
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/base/error.h"

namespace t2i {

// A column that the task wants. `source` is the name it has in the data (the user's data.columns map); empty: `name`.
struct ColumnSpec {
  std::string name{};
  bool is_image = false;
  std::string source{};
  bool required = true;  // a row may leave out a column that is not required

  const std::string& in_data() const { return source.empty() ? name : source; }
};

struct Row {
  uint64_t index = 0;
  std::string where;  // "metadata.jsonl:7" or "cats/0413.jpg", for messages
  std::map<std::string, std::string>
      values;  // by ColumnSpec::name; an image's path relative to the root, a text itself
};

enum class CaptionMissing { error, empty, filename };  // filename: "red_car-02.png" becomes "red car 02"

struct DatasetOptions {
  bool allow_outside = false;
  CaptionMissing caption_missing = CaptionMissing::error;
  bool skip_bad_files = false;  // a row that cannot be read, or whose files cannot, stays, listed in Dataset::bad
};

struct BadRow {
  uint64_t index = 0;
  Error reason;  // the first
};

struct Dataset {
  std::string root;  // the folder that paths are relative to
  bool allow_outside = false;
  std::vector<Row> rows;             // in the order of the file, or of the sorted paths
  std::vector<BadRow> bad;           // by rising index; never all rows
  std::vector<std::string> notices;  // what was ignored or filled in, one line each, to be shown once
  std::string fingerprint;           // 32 hex digits over the rows and their images' sizes; equal on every machine
};

// `path` is a folder or a .jsonl file. Throws Failure with every problem found, each with file:line, many of one kind
// summed up: E3003 captions missing, E3004 a row that cannot be read, E3005 a path that leaves the folder, E3008 a file
// that is not there, E3009 nothing to train on, E3010 not a regular file, E3011 no row has its pictures (and bad files
// are skipped), E3012 not UTF-8, E3013 columns missing.
Dataset open_dataset(const std::string& path, const std::vector<ColumnSpec>& columns,
                     const DatasetOptions& options = {});

}  // namespace t2i
