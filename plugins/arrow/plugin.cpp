// Parquet and Arrow files, read and written by the C++ libraries that come with the pyarrow wheel. Built where that is found.
#include <arrow/util/byte_size.h>

#include <list>
#include <map>
#include <mutex>
#include <set>
#include <tuple>

#include "columns.hpp"
#include "reader.hpp"
#include "writer.hpp"

namespace arrow_files {

class Files {
  struct Opened {
    std::unique_ptr<File> file;
    std::vector<int> fields;  // by the table's column: its number in this file
    uint64_t rows = 0;
  };
  using Place = std::tuple<size_t, size_t, uint32_t>;  // file, piece, column
  struct Piece {                                       // of a column, read
    Place place;
    std::shared_ptr<arrow::ChunkedArray> cells;
    int64_t bytes = 0;
  };
  // Rows are asked for in random order, and a row group is read whole: those that were used last are kept. A data set that
  // fits is read once.
  static constexpr int64_t most_bytes = int64_t{1} << 30;

  std::vector<Opened> files_;
  std::string about_;
  std::mutex mutex_;
  std::list<Piece> kept_;  // the one used last at the front
  std::map<Place, std::list<Piece>::iterator> where_;
  int64_t kept_bytes_ = 0;

 public:
  using Writer = arrow_files::Writer;

  Files(const t2i::Json&, std::span<const char* const> paths) {
    t2i::Json rows = t2i::Json::array(), columns = t2i::Json::array();
    for (const char* path : paths) {
      try {
        Opened opened{open_file(path), {}, 0};
        for (int64_t n : opened.file->pieces()) opened.rows += static_cast<uint64_t>(n);
        rows.push_back(opened.rows);
        files_.push_back(std::move(opened));
      } catch (const t2i::Error& e) {
        throw t2i::Error(e.code, std::string(path) + ": " + e.what());
      }
    }
    if (files_.empty()) t2i::fail("no file was given");
    const arrow::Schema& first = *files_.front().file->schema();
    std::set<std::string> names;
    for (const auto& field : first.fields()) {
      if (!names.insert(field->name()).second) t2i::fail("two columns are called '" + field->name() + "'");
      columns.push_back({{"name", field->name()}, {"kind", name_of(kind_of(*field->type()))}});
    }
    for (size_t f = 0; f < files_.size(); ++f)
      for (const auto& field : first.fields()) {
        const int at = files_[f].file->schema()->GetFieldIndex(field->name());
        if (at < 0 || kind_of(*files_[f].file->schema()->field(at)->type()) != kind_of(*field->type()))
          t2i::fail(std::string(paths[f]) + ": it has no column '" + field->name() + "' like that of " + paths[0]);
        files_[f].fields.push_back(at);
      }
    about_ = t2i::Json{{"rows", rows}, {"columns", columns}}.dump();
  }

  const char* describe() { return about_.c_str(); }

  void read(uint64_t row, uint32_t column, t2i::CellSink out) {
    size_t f = 0;
    for (; f < files_.size() && row >= files_[f].rows; ++f) row -= files_[f].rows;
    if (f == files_.size() || column >= files_[f].fields.size()) t2i::fail("there is no such cell");
    const std::vector<int64_t>& pieces = files_[f].file->pieces();
    auto left = static_cast<int64_t>(row);
    size_t p = 0;
    for (; left >= pieces[p]; ++p) left -= pieces[p];
    put_cell(*cells(f, p, column), left, out);
  }

 private:
  std::shared_ptr<arrow::ChunkedArray> cells(size_t f, size_t p, uint32_t column) {
    std::lock_guard lock(mutex_);
    if (files_[f].file->kept()) return files_[f].file->column(p, files_[f].fields[column]);
    const Place place{f, p, column};
    if (auto found = where_.find(place); found != where_.end()) {
      kept_.splice(kept_.begin(), kept_, found->second);
      return kept_.front().cells;
    }
    Piece fresh{place, files_[f].file->column(p, files_[f].fields[column]), 0};
    fresh.bytes = arrow::util::TotalBufferSize(*fresh.cells);
    kept_bytes_ += fresh.bytes;
    kept_.push_front(std::move(fresh));
    where_[place] = kept_.begin();
    while (kept_bytes_ > most_bytes && kept_.size() > 1) {
      kept_bytes_ -= kept_.back().bytes;
      where_.erase(kept_.back().place);
      kept_.pop_back();
    }
    return kept_.front().cells;
  }
};

}  // namespace arrow_files

T2I_PLUGIN("t2i.dataset.arrow", "0.1.0", "Apache-2.0",
           t2i::dataset<arrow_files::Files>("arrow", "Parquet and Arrow files, as Hugging Face's datasets writes and reads them", "parquet arrow"))
