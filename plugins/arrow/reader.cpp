#include "reader.hpp"

#include <arrow/io/file.h>
#include <arrow/ipc/reader.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/schema.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>

#include <cstring>

#include "columns.hpp"

namespace arrow_files {
namespace {

// ReadRowGroup gave a Status in older versions of the library and gives a Result in newer ones.
template <class Reader>
std::shared_ptr<arrow::Table> row_group(Reader& reader, int group, const std::vector<int>& leaves) {
  if constexpr (requires { reader.ReadRowGroup(group, leaves).ValueOrDie(); }) {
    return value(reader.ReadRowGroup(group, leaves));
  } else {
    std::shared_ptr<arrow::Table> table;
    require(reader.ReadRowGroup(group, leaves, &table));
    return table;
  }
}

class ParquetFile : public File {
  std::unique_ptr<parquet::arrow::FileReader> reader_;

  static void leaves_of(const parquet::arrow::SchemaField& field, std::vector<int>& leaves) {
    if (field.column_index >= 0) leaves.push_back(field.column_index);
    for (const parquet::arrow::SchemaField& child : field.children) leaves_of(child, leaves);
  }

 public:
  explicit ParquetFile(std::shared_ptr<arrow::io::RandomAccessFile> file) {
    parquet::arrow::FileReaderBuilder builder;
    require(builder.Open(std::move(file)));
    reader_ = value(builder.Build());
    require(reader_->GetSchema(&schema_));
    const auto metadata = reader_->parquet_reader()->metadata();
    for (int group = 0; group < metadata->num_row_groups(); ++group) rows_.push_back(metadata->RowGroup(group)->num_rows());
  }
  std::shared_ptr<arrow::ChunkedArray> column(size_t piece, int field) override {
    std::vector<int> leaves;
    leaves_of(reader_->manifest().schema_fields.at(static_cast<size_t>(field)), leaves);
    return row_group(*reader_, static_cast<int>(piece), leaves)->column(0);
  }
  bool kept() const override { return false; }
};

// The file is mapped: its batches point into it, and reading all of them moves no bytes.
class ArrowFile : public File {
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches_;

 public:
  ArrowFile(const std::string& path, bool stream) {
    auto file = value(arrow::io::MemoryMappedFile::Open(path, arrow::io::FileMode::READ));
    if (stream) {
      auto reader = value(arrow::ipc::RecordBatchStreamReader::Open(file));
      schema_ = reader->schema();
      for (std::shared_ptr<arrow::RecordBatch> batch; require(reader->ReadNext(&batch)), batch;) add(batch);
    } else {
      auto reader = value(arrow::ipc::RecordBatchFileReader::Open(file));
      schema_ = reader->schema();
      for (int i = 0; i < reader->num_record_batches(); ++i) add(value(reader->ReadRecordBatch(i)));
    }
  }
  std::shared_ptr<arrow::ChunkedArray> column(size_t piece, int field) override {
    return std::make_shared<arrow::ChunkedArray>(batches_.at(piece)->column(field));
  }
  bool kept() const override { return true; }

 private:
  void add(std::shared_ptr<arrow::RecordBatch> batch) {
    require(batch->ValidateFull());  // offsets of a damaged file would point anywhere; of pictures no byte is read for it
    rows_.push_back(batch->num_rows());
    batches_.push_back(std::move(batch));
  }
};

}  // namespace

std::unique_ptr<File> open_file(const std::string& path) {
  auto file = value(arrow::io::ReadableFile::Open(path));
  char magic[6] = {};
  const int64_t got = value(file->ReadAt(0, sizeof magic, magic));
  if (got >= 4 && std::memcmp(magic, "PAR1", 4) == 0) return std::make_unique<ParquetFile>(file);
  return std::make_unique<ArrowFile>(path, std::memcmp(magic, "ARROW1", 6) != 0);
}

}  // namespace arrow_files
