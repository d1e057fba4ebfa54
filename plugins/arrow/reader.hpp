// One file of a table, in pieces: a Parquet file's row groups, an Arrow file's batches. A piece's column is read when a cell of
// it is asked for.
#pragma once
#include <arrow/api.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace arrow_files {

class File {
 public:
  virtual ~File() = default;
  const std::shared_ptr<arrow::Schema>& schema() const { return schema_; }
  const std::vector<int64_t>& pieces() const { return rows_; }  // rows of each
  // Not by two threads at once.
  virtual std::shared_ptr<arrow::ChunkedArray> column(size_t piece, int field) = 0;
  virtual bool kept() const = 0;  // reading a column again costs nothing

 protected:
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<int64_t> rows_;
};

// By its first bytes: Parquet, an Arrow file, or a stream of Arrow batches as datasets writes it.
std::unique_ptr<File> open_file(const std::string& path);

}  // namespace arrow_files
