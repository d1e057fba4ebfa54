// Shared by the readers of the data layouts. Not for use outside this room.
#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/data/dataset.h"
#include "core/data/file.h"
#include "core/data/limits.h"

namespace t2i {

// Problems found so far. Of each kind the first few are kept, the rest is counted.
class Problems {
  struct Kind {
    std::string name;
    std::vector<Error> first;
    size_t count = 0;
  };
  std::vector<Kind> kinds_;  // in the order in which they were first met

 public:
  void add(const std::string& kind, Error error);
  bool empty() const { return kinds_.empty(); }
  std::vector<Error> take() const;  // those kept, and a line for those that were only counted
};

// What is being put together, and from what.
struct DatasetReading {
  const std::vector<ColumnSpec>& columns;
  const DatasetOptions& options;
  DataFolder folder;
  Dataset dataset;
  std::vector<uint64_t> image_bytes;  // file sizes, by row and column name, for the fingerprint
  Problems problems;

  DatasetReading(const std::string& root, const std::vector<ColumnSpec>& wanted, const DatasetOptions& chosen)
      : columns(wanted), options(chosen), folder(root, chosen.allow_outside) {
    dataset.root = root;
    dataset.allow_outside = chosen.allow_outside;
  }

  // A path in the folder as messages show it.
  std::string shown(const std::string& path) const { return dataset.root == "." ? path : dataset.root + "/" + path; }

  // Puts the image into the row if it is there and may be read, else notes the problem. In messages it is `subject`.
  void add_image(Row& row, const std::string& column, const std::string& path, const std::string& subject);
  void add_row(Row row);
  // The row that is being put together cannot be used: it is listed as bad where such rows are skipped, else the
  // problem is noted.
  void row_problem(const std::string& kind, Error error);
};

// What lies in a folder and below it, links to folders not followed. Paths are relative, lists sorted bytewise.
struct FolderListing {
  std::vector<std::string> images;       // .jpg .jpeg .png .webp
  std::set<std::string> captions;        // .txt
  std::vector<std::string> metadata;     // metadata.jsonl, in any depth
  std::vector<std::string> other_jsonl;  // in the folder itself
  std::vector<std::string> tables;       // metadata.csv and metadata.parquet, in any depth
  std::map<std::string, size_t> other;   // the rest by extension; "" for none
  size_t files = 0;                      // all that were seen
  size_t mac_files = 0;                  // "._*" and what is in __MACOSX
  size_t folder_links = 0;
};
FolderListing list_folder(const std::string& root, Problems& problems);

// The two readers. They add rows, notices and problems. The .jsonl paths are relative to the root and, unless the user
// named the file, do not leave it.
void read_captioned_images(DatasetReading& reading, const FolderListing& listing);
void read_jsonl(DatasetReading& reading, const std::vector<std::string>& paths, bool named);

}  // namespace t2i
