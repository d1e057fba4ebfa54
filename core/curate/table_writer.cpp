// parquet: the files that datasets' load_dataset opens with Image features, in pieces of half a gigabyte as the hub has them.
#include <fmt/format.h>

#include "core/curate/conversion.h"
#include "core/data_options.h"

namespace t2i {
namespace {

constexpr uint64_t bytes_of_a_file = 500'000'000;

class TableWriter : public LayoutWriter {
  Conversion& job_;
  Component component_;
  PictureNames names_;
  std::vector<DatasetColumn> columns_;
  std::unique_ptr<DatasetWriter> file_;
  std::vector<std::string> files_;
  uint64_t bytes_ = 0, number_ = 0;

 public:
  explicit TableWriter(Conversion& job) : job_(job), component_(table_component(job.registry, "train.parquet")), names_(job, PictureNames::For::list) {
    for (const ColumnSpec& column : job.columns) columns_.push_back({column.name, column.is_image ? "picture" : "text"});
  }

  void add(const Row& row) override {
    std::vector<std::optional<DatasetCell>> cells;
    uint64_t bytes = 0;
    for (const ColumnSpec& column : job_.columns) {
      auto value = row.values.find(column.name);
      if (value == row.values.end()) cells.push_back(std::nullopt);
      else if (!column.is_image) cells.push_back(DatasetCell{value->second, ""});
      else {
        const PictureBytes picture = job_.read(row, column.name);
        const std::string path = names_.name(row, column, number_);
        cells.push_back(DatasetCell{{reinterpret_cast<const char*>(picture.data()), picture.size()}, path.substr(path.rfind('/') + 1)});
        ++job_.pictures;
      }
      if (cells.back()) bytes += cells.back()->bytes.size();
    }
    for (uint32_t time = 0; time < job_.times(row); ++time) {
      if (!file_ || bytes_ + bytes > bytes_of_a_file) next_file();
      file_->append(cells);
      bytes_ += bytes, job_.picture_bytes += bytes;
    }
    ++number_;
  }

  void finish() override {
    if (file_) file_->finish();
    file_.reset();
    for (size_t i = 0; i < files_.size(); ++i)
      std::filesystem::rename(job_.staging.folder() / files_[i], job_.staging.folder() / fmt::format("train-{:05}-of-{:05}.parquet", i, files_.size()));
  }

 private:
  void next_file() {
    if (file_) file_->finish();
    files_.push_back(fmt::format("{}.part", files_.size()));
    file_ = std::make_unique<DatasetWriter>(component_, (job_.staging.folder() / files_.back()).string(), columns_);
    bytes_ = 0;
  }
};

}  // namespace

std::unique_ptr<LayoutWriter> table_writer(Conversion& job) { return std::make_unique<TableWriter>(job); }

}  // namespace t2i
