// Of an Arrow column, what it is to a data set, and its cells as bytes.
#pragma once
#include <arrow/api.h>
#include <t2i/dataset.hpp>

#include <memory>
#include <string>

namespace arrow_files {

inline void require(const arrow::Status& status) {
  if (!status.ok()) t2i::fail(status.message(), status.IsOutOfMemory() ? T2I_E_OOM : T2I_E_INVALID);
}
template <class T>
T value(arrow::Result<T> result) {
  require(result.status());
  return std::move(result).ValueUnsafe();
}

enum class Kind { text, picture, other };
inline const char* name_of(Kind kind) { return kind == Kind::text ? "text" : kind == Kind::picture ? "picture" : "other"; }

// Strings are texts. Bytes are pictures, and so is what datasets' Image feature stores: a struct of bytes and path.
Kind kind_of(const arrow::DataType& type);

// The cell at `row` of the array, handed out.
void put_cell(const arrow::Array& array, int64_t row, const t2i::CellSink& out);

// Where the row lies in a column of several chunks.
void put_cell(const arrow::ChunkedArray& column, int64_t row, const t2i::CellSink& out);

}  // namespace arrow_files
