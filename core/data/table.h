// A table that another library reads: Parquet, Arrow. This room knows no such library; whoever opens a data set passes in
// how a table is opened.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"

namespace t2i {

struct TableColumn {
  std::string name;
  enum class Kind { text, picture, other } kind = Kind::other;
};

struct TableCell {
  std::string bytes;  // of a picture: its file's
  std::string name;   // of a picture: what its file was called; may be empty
};

class Table {
 public:
  virtual ~Table() = default;
  virtual const std::vector<uint64_t>& rows() const = 0;  // of each file
  virtual const std::vector<TableColumn>& columns() const = 0;
  // Nothing where the cell is empty. Errors: E2135. Any thread.
  virtual Result<std::optional<TableCell>> read(uint64_t row, size_t column) const = 0;
};

// Opens the files as one table, in this order. Throws Failure: E2132 no library for such files, E2135 they cannot be read.
using OpenTable = std::function<std::unique_ptr<Table>(const std::vector<std::string>& files)>;

}  // namespace t2i
