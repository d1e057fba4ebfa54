#include "columns.hpp"

namespace arrow_files {
namespace {

bool holds_bytes(const arrow::DataType& type) {
  const auto id = type.id();
  return id == arrow::Type::BINARY || id == arrow::Type::LARGE_BINARY || id == arrow::Type::BINARY_VIEW;
}

bool holds_text(const arrow::DataType& type) {
  const auto id = type.id();
  return id == arrow::Type::STRING || id == arrow::Type::LARGE_STRING || id == arrow::Type::STRING_VIEW;
}

std::string_view view_of(const arrow::Array& array, int64_t row) {
  switch (array.type_id()) {
    case arrow::Type::STRING:
    case arrow::Type::BINARY: return static_cast<const arrow::BinaryArray&>(array).GetView(row);
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY: return static_cast<const arrow::LargeBinaryArray&>(array).GetView(row);
    case arrow::Type::STRING_VIEW:
    case arrow::Type::BINARY_VIEW: return static_cast<const arrow::BinaryViewArray&>(array).GetView(row);
    default: t2i::fail("a cell is of type " + array.type()->ToString() + ", not text or bytes");
  }
}

void put_struct(const arrow::StructArray& array, int64_t row, const t2i::CellSink& out) {
  const std::shared_ptr<arrow::Array> bytes = array.GetFieldByName("bytes"), path = array.GetFieldByName("path");
  const bool named = path && holds_text(*path->type()) && path->IsValid(row);
  const std::string name = named ? std::string(view_of(*path, row)) : "";
  if (bytes->IsValid(row)) return out.put(view_of(*bytes, row), named ? name.c_str() : nullptr);
  if (!name.empty()) t2i::fail("the table has the path of a picture, '" + name + "', and not its bytes", T2I_E_MISSING);
  out.put_empty();
}

}  // namespace

Kind kind_of(const arrow::DataType& type) {
  if (holds_text(type)) return Kind::text;
  if (holds_bytes(type)) return Kind::picture;
  if (type.id() == arrow::Type::DICTIONARY && holds_text(*static_cast<const arrow::DictionaryType&>(type).value_type())) return Kind::text;
  if (type.id() == arrow::Type::STRUCT)
    if (const int at = static_cast<const arrow::StructType&>(type).GetFieldIndex("bytes"); at >= 0 && holds_bytes(*type.field(at)->type())) return Kind::picture;
  return Kind::other;
}

void put_cell(const arrow::Array& array, int64_t row, const t2i::CellSink& out) {
  if (array.IsNull(row)) return out.put_empty();
  if (array.type_id() == arrow::Type::STRUCT) return put_struct(static_cast<const arrow::StructArray&>(array), row, out);
  if (array.type_id() == arrow::Type::DICTIONARY) {
    const auto& indexed = static_cast<const arrow::DictionaryArray&>(array);
    return put_cell(*indexed.dictionary(), indexed.GetValueIndex(row), out);
  }
  out.put(view_of(array, row));
}

void put_cell(const arrow::ChunkedArray& column, int64_t row, const t2i::CellSink& out) {
  for (const std::shared_ptr<arrow::Array>& chunk : column.chunks()) {
    if (row < chunk->length()) return put_cell(*chunk, row, out);
    row -= chunk->length();
  }
  t2i::fail("there is no such row");
}

}  // namespace arrow_files
