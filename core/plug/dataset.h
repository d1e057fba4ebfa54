// A loaded data set format: a table in files that the core does not read itself, cell by cell.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/plug/library.h"

namespace t2i {

struct DatasetColumn {
  std::string name, kind;  // "text", "picture", "other"
};

struct DatasetCell {
  std::string bytes, name;  // name: of a picture's file, where it is known
};

// The component that opens files with this ending ("parquet"), among all that are installed; null where there is none.
const Component* find_dataset(const std::vector<Component>& all, const std::string& ending);

class DatasetFiles {
 public:
  // One table of all files. E2135 where it cannot be opened.
  DatasetFiles(const Component& component, const std::vector<std::string>& files);
  ~DatasetFiles();
  DatasetFiles(const DatasetFiles&) = delete;

  const std::vector<uint64_t>& rows() const { return rows_; }  // of each file
  const std::vector<DatasetColumn>& columns() const { return columns_; }
  // Nothing where the cell is empty. Any thread. E2135 where it cannot be read.
  Result<std::optional<DatasetCell>> read(uint64_t row, size_t column) const;

 private:
  Component component_;
  std::string where_;
  void* self_ = nullptr;
  std::vector<uint64_t> rows_;
  std::vector<DatasetColumn> columns_;
};

// A new file of the component's kind. Failure E2136 at the first thing that goes wrong; what was written is then of no use.
class DatasetWriter {
 public:
  DatasetWriter(const Component& component, const std::string& file, const std::vector<DatasetColumn>& columns);
  ~DatasetWriter();
  DatasetWriter(const DatasetWriter&) = delete;

  void append(const std::vector<std::optional<DatasetCell>>& cells);  // one for each column
  void finish();

 private:
  const t2i_dataset& api() const { return *static_cast<const t2i_dataset*>(component_.impl); }
  void require(int32_t code) const;
  Component component_;
  std::string file_;
  void* writer_ = nullptr;
};

}  // namespace t2i
