// What there is to train on: a list of rows, each naming its images and texts. Nothing is decoded here.
//
// The layouts, found by looking:
//   a tree of images with captions beside them    cat.png + cat.txt (or .caption), in any depth; columns "image" and "text"
//   the same in folders named 10_cats             as kohya's trainers have it: each row ten times
//   metadata.jsonl as Hugging Face's imagefolder  {"file_name": …} is column "image", {"X_file_name": …} column "X",
//                                                 every other field a column of its own name; here or in subfolders
//   any other .jsonl with plain path fields       {"input_image": "a.png", "instruction": "…", "output_image": "b.png"}
//   tar shards as WebDataset's                    members 17.png and 17.txt, or 17.X.png and 17.json, are a row
//   Parquet files, and folders of save_to_disk    a column a column; read by a plugin (DatasetOptions::open_table)
// Image paths are relative to the .jsonl's folder and cannot leave it: no "..", absolute path or symbolic link out,
// unless allow_outside says so. (The links of a Hugging Face hub cache may reach that repository's own blobs.)
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/data/pictures.h"
#include "core/data/problems.h"
#include "core/data/table.h"

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
      values;  // by ColumnSpec::name; an image's name in Dataset::pictures, a text itself
  uint32_t repeats = 1;  // more only where DatasetOptions::expand_repeats is off
};

enum class CaptionMissing { error, empty, filename };  // filename: "red_car-02.png" becomes "red car 02"

struct DatasetOptions {
  bool allow_outside = false;
  CaptionMissing caption_missing = CaptionMissing::error;
  bool skip_bad_files = false;  // a row that cannot be read, or whose files cannot, stays, listed in Dataset::bad
  bool folder_repeats = true;   // folders named 10_cats count ten times; else they are folders like any other
  bool expand_repeats = true;   // a row that counts ten times is there ten times
  size_t problems_listed = max_problems_listed;  // of one kind; the rest is counted
  OpenTable open_table{};                        // empty: tables are refused
};

// Dataset::layout of folders named with repeats.
inline constexpr const char* folder_repeats_layout = "folders named with repeats";

struct BadRow {
  uint64_t index = 0;
  Error reason;  // the first
};

struct Dataset {
  std::string root;    // the folder that paths are relative to
  std::string layout;  // "images with captions", "metadata.jsonl", …: for people
  std::string seen;    // "saw 214 files: 200 .png, 14 .txt"; empty where one file was named
  bool allow_outside = false;
  std::shared_ptr<const Pictures> pictures;
  std::vector<Row> rows;             // in the order of the file, or of the sorted paths
  std::vector<BadRow> bad;           // by rising index; never all rows
  std::vector<std::string> notices;  // what was ignored or filled in, one line each, to be shown once
  std::string fingerprint;           // 32 hex digits over the rows and their images' sizes; equal on every machine
};

// `path` is a folder, a .jsonl, .parquet, .arrow or .tar file, or shards as "shard-{000..012}.tar". Throws Failure with every problem found, each with file:line, many of one kind
// summed up: E3003 captions missing, E3004 a row that cannot be read, E3005 a path that leaves the folder, E3008 a file
// that is not there, E3009 nothing to train on, E3010 not a regular file, E3011 no row has its pictures (and bad files
// are skipped), E3012 not UTF-8, E3013 columns missing.
Dataset open_dataset(const std::string& path, const std::vector<ColumnSpec>& columns,
                     const DatasetOptions& options = {});

// All that is wrong with it, and the rows all the same: those that cannot be used stand in Dataset::bad too. Throws nothing
// but what open_table throws.
struct Survey {
  Dataset dataset;
  Problems problems;
};
Survey survey_dataset(const std::string& path, const std::vector<ColumnSpec>& columns, const DatasetOptions& options = {});

// The columns that the data itself has, by its first rows: fields that name pictures, and fields of text. A field that most of
// them have is required. `others`: fields that are neither. Empty where there is nothing that could be read.
struct ColumnGuess {
  std::vector<ColumnSpec> columns;
  std::vector<std::string> others;
};
ColumnGuess guess_columns(const std::string& path, const DatasetOptions& options = {});

}  // namespace t2i
