// A new Parquet file, as datasets writes one with Image features.
#pragma once
#include <arrow/api.h>
#include <arrow/io/interfaces.h>
#include <parquet/arrow/writer.h>
#include <t2i/t2i.hpp>

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace arrow_files {

class Writer {
 public:
  Writer(const t2i::Json& config, const char* file, const t2i::Json& columns);
  void append(std::span<const t2i_cell> cells);
  void finish();

 private:
  void write_group();

  std::shared_ptr<arrow::Schema> schema_;
  std::unique_ptr<parquet::arrow::FileWriter> writer_;
  std::shared_ptr<arrow::io::OutputStream> out_;
  std::vector<std::unique_ptr<arrow::ArrayBuilder>> builders_;
  int64_t rows_ = 0, bytes_ = 0;  // not written yet
};

}  // namespace arrow_files
