// One conversion: what every layout's writer works with, and what it is.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/commands.h"
#include "core/curate/staging.h"
#include "core/data/dataset.h"
#include "core/plug/library.h"

namespace t2i {

struct Conversion {
  const ConvertOptions& options;
  const Dataset& dataset;
  std::vector<ColumnSpec> columns;
  std::vector<const Row*> rows;  // those that are written, adjacent equal ones folded into repeats
  Staging& staging;
  Registry& registry;

  uint64_t pictures = 0, picture_bytes = 0, linked = 0;  // so far

  std::vector<ColumnSpec> images() const;
  std::vector<ColumnSpec> texts() const;
  uint32_t times(const Row& row) const { return options.once ? 1 : row.repeats; }
  // The bytes of a row's picture. Failure where they cannot be read.
  PictureBytes read(const Row& row, const std::string& column) const;
  // A row's picture as a file of the new folder: a copy, or a link where that was asked for.
  void put(const Row& row, const std::string& column, const std::string& path);
};

// What pictures are called in the new folder. Their own names are kept where they are paths and no two pictures have the same;
// else they are numbered in the order of the rows, a folder for each column where there are several.
class PictureNames {
 public:
  // list: a file names them in the order of the rows. tree: their own order is that of the rows, and each row has its own.
  // repeat_folders: the same in folders without folders.
  enum class For { list, tree, repeat_folders };
  PictureNames(const Conversion& job, For what);
  // Of a row's picture; `number` counts what is written. With its ending: as it was, or what the file's first bytes say.
  std::string name(const Row& row, const ColumnSpec& column, uint64_t number) const;

 private:
  bool may_keep(const Row& row, const std::string& picture, const std::string& before, std::unordered_map<std::string, std::string>& taken) const;

  const Conversion& job_;
  For for_;
  bool kept_ = true, several_ = false;
  int digits_ = 6;
};

// "10_cats/a.png" of folders named with repeats → "cats"; nothing for data of another layout.
std::optional<std::string> repeat_label(const Dataset& dataset, const std::string& picture);

class LayoutWriter {
 public:
  virtual ~LayoutWriter() = default;
  virtual void add(const Row& row) = 0;  // with its repeats
  virtual void finish() {}
};

// By name of the layout. Failure E2141 where it cannot hold these columns.
std::unique_ptr<LayoutWriter> list_writer(Conversion& job, bool plain_paths);  // imagefolder; triplets with plain paths
std::unique_ptr<LayoutWriter> tree_writer(Conversion& job, bool repeat_folders);  // image_txt; kohya with folders
std::unique_ptr<LayoutWriter> table_writer(Conversion& job);
std::unique_ptr<LayoutWriter> shard_writer(Conversion& job);

// E2141.
[[noreturn]] void fail_layout(const Conversion& job, const std::string& holds);

}  // namespace t2i
