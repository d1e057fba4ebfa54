// Shared by the readers of the data layouts. Not for use outside this room.
#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/data/dataset.h"
#include "core/data/file.h"
#include "core/data/limits.h"
#include "core/data/problems.h"

namespace t2i {

// What is being put together, and from what.
struct DatasetReading {
  const std::vector<ColumnSpec>& columns;
  const DatasetOptions& options;
  DataFolder folder;
  Dataset dataset;
  std::vector<uint64_t> image_bytes;  // sizes, by row and column name, for the fingerprint
  Problems problems;
  bool surveying = false;       // every problem is noted, and reading goes on behind it
  ColumnGuess* guess = nullptr; // only the first rows are looked at, for the columns they have

  DatasetReading(const std::string& root, const std::vector<ColumnSpec>& wanted, const DatasetOptions& chosen)
      : columns(wanted), options(chosen), folder(root, chosen.allow_outside), problems(chosen.problems_listed) {
    dataset.root = root;
    dataset.allow_outside = chosen.allow_outside;
    dataset.pictures = pictures_in_folder(root, chosen.allow_outside);
  }

  bool skips() const { return options.skip_bad_files || surveying; }

  // A path in the folder as messages show it.
  std::string shown(const std::string& path) const { return dataset.root == "." ? path : dataset.root + "/" + path; }

  // Puts the image into the row if it is there and may be read, else notes the problem. In messages it is `subject`.
  void add_image(Row& row, const std::string& column, const std::string& name, const std::string& subject);
  void add_row(Row row);
  // The row that is being put together cannot be used: it is listed as bad where such rows are skipped, else the
  // problem is noted.
  void row_problem(const std::string& kind, Error error);
};

// What lies in a folder and below it, links to folders not followed. Paths are relative, lists sorted bytewise.
struct FolderListing {
  std::vector<std::string> images;       // .jpg .jpeg .png .webp
  std::set<std::string> captions;        // .txt and .caption
  std::vector<std::string> metadata;     // metadata.jsonl, in any depth
  std::vector<std::string> other_jsonl;  // in the folder itself
  std::vector<std::string> tables;       // metadata.csv and metadata.parquet, in any depth
  std::vector<std::string> parquet;      // other .parquet files, in any depth
  std::vector<std::string> arrow;        // .arrow files, in any depth
  std::vector<std::string> shards;       // .tar, in any depth
  std::set<std::string> saved;           // dataset_info.json, state.json and dataset_dict.json, in any depth
  std::map<std::string, size_t> other;   // the rest by extension; "" for none
  size_t files = 0;                      // all that were seen
  size_t mac_files = 0;                  // "._*" and what is in __MACOSX
  size_t folder_links = 0;
};
FolderListing list_folder(const std::string& root, Problems& problems);

// The readers. They add rows, notices and problems. The .jsonl paths are relative to the root and, unless the user named
// the file, do not leave it.
void read_captioned_images(DatasetReading& reading, const FolderListing& listing);
void read_jsonl(DatasetReading& reading, const std::vector<std::string>& paths, bool named);
void read_shards(DatasetReading& reading, const std::vector<std::string>& paths, bool named);
void read_tables(DatasetReading& reading, const std::vector<std::string>& paths, bool named);

// Of a folder without .jsonl and pictures: its Parquet files, those of its training split alone where there are several; or
// the Arrow files that save_to_disk wrote. Empty where there are none. What is left out is noticed, what cannot be read a problem.
std::vector<std::string> tables_of(DatasetReading& reading, const FolderListing& listing);

bool is_image_name(const std::string& path);  // by its ending

}  // namespace t2i
