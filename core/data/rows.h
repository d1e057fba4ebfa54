// Rows as objects of named fields, from whatever has them so: lines of a .jsonl, samples of a shard, rows of a table. Which
// field is which column, and what is said where one is missing. Not for use outside this room.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/data/layout.h"

namespace t2i {

// The names that a column's field may have in a row, the likeliest first.
std::vector<std::string> names_of(const ColumnSpec& column);

class RowReader {
  // What can only be said when every row has been seen.
  struct Absent {
    size_t rows = 0;
    std::string first;
    Error first_error;  // for an image column
  };

  DatasetReading& reading_;
  size_t rows_ = 0;
  std::map<std::string, size_t> fields_;  // name → rows that have it
  std::map<std::string, Absent> absent_;  // by column name
  struct Kinds {
    size_t pictures = 0, texts = 0, others = 0;
  };
  std::map<std::string, Kinds> kinds_;  // of fields, where columns are guessed

 public:
  explicit RowReader(DatasetReading& reading) : reading_(reading) {}

  // `folder` stands before relative picture names ("" or "sub/"); `where` is for messages. `repeats` of Row.
  void read(const Json& fields, const std::string& folder, const std::string& where);
  // No row can be made of what lies there; where such are skipped, an empty one holds its place.
  void bad(const std::string& where, Error error);
  // A text of the row that is read next is not UTF-8.
  void not_utf8(const std::string& where, const std::string& field);
  void finish();
  bool enough() const;  // rows to tell the columns by, where that is all that is wanted
  // A field of every row, where the layout itself says what it is.
  void declare(const std::string& field, TableColumn::Kind kind);

 private:
  void add_text(Row& row, const ColumnSpec& column, const Json& fields);
  void add_path(Row& row, const ColumnSpec& column, const Json& fields, const std::string& folder);
  bool fills(const ColumnSpec& column) const {  // a text that is not there is made
    return !column.is_image && reading_.options.caption_missing != CaptionMissing::error;
  }
  void note_absent(const Row& row, const ColumnSpec& column, const Json& fields);
  void tell_absent(const ColumnSpec& column, const Absent& absent);
  void guess(const Json& fields);
  void finish_guess();
  std::string field_names(size_t most) const;
};

}  // namespace t2i
