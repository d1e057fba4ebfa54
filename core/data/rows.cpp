#include "core/data/rows.h"

#include <algorithm>

#include "core/data/text.h"

namespace t2i {
namespace {

constexpr size_t rows_to_guess_by = 100;

std::string quoted(const std::vector<std::string>& names) {
  std::string list;
  for (size_t i = 0; i < names.size(); ++i)
    list += (i == 0 ? "'" : i + 1 < names.size() ? ", '" : " or '") + names[i] + "'";
  return list;
}

// The field that was probably meant by `name`: one that contains it ("edit_instruction"), else one spelled nearly so.
std::optional<std::string> similar_field(const std::vector<std::string>& names,
                                         const std::vector<std::string>& fields) {
  for (const std::string& name : names)
    for (const std::string& field : fields)
      if (field.find(name) != field.npos) return field;
  for (const std::string& name : names)
    if (auto similar = nearest(name, fields)) return similar;
  return std::nullopt;
}

const char* kind_of(const Json& value) {
  return value.is_null()      ? "null"
         : value.is_boolean() ? "true or false"
         : value.is_number()  ? "a number"
         : value.is_array()   ? "a list"
         : value.is_object()  ? "an object"
                              : "a text";
}

// Of a field, the column that imagefolder calls it.
std::string column_of(const std::string& field) {
  constexpr std::string_view ending = "_file_name";
  if (field == "file_name") return "image";
  if (field.size() > ending.size() && field.ends_with(ending)) return field.substr(0, field.size() - ending.size());
  return field;
}

}  // namespace

std::vector<std::string> names_of(const ColumnSpec& column) {
  const std::string& name = column.in_data();
  if (!column.is_image) return {name};
  if (name == "image") return {"file_name", "image", "image_file_name"};
  return {name + "_file_name", name};
}

void RowReader::read(const Json& fields, const std::string& folder, const std::string& where) {
  if (!fields.is_object())
    return bad(where, {where, std::string("a row must be an object, like {\"text\": …}; this is ") + kind_of(fields), "",
                       "write one object a line", "E3004", Exit::bad_data});
  ++rows_;
  if (reading_.guess) return guess(fields);
  for (auto field = fields.begin(); field != fields.end(); ++field) ++fields_[field.key()];
  Row row;
  row.where = where;
  for (const ColumnSpec& column : reading_.columns)  // images first: a caption may be made of their name
    if (column.is_image) add_path(row, column, fields, folder);
  for (const ColumnSpec& column : reading_.columns)
    if (!column.is_image) add_text(row, column, fields);
  reading_.add_row(std::move(row));
}

void RowReader::bad(const std::string& where, Error error) {
  ++rows_;
  if (reading_.guess) return;
  reading_.row_problem("syntax", std::move(error));
  if (!reading_.skips()) return;
  Row row;
  row.where = where;
  reading_.add_row(std::move(row));
}

void RowReader::not_utf8(const std::string& where, const std::string& field) {
  reading_.row_problem("utf8", {where, "'" + field + "' is not UTF-8", "", "save it as UTF-8", "E3012", Exit::bad_data});
}

void RowReader::add_path(Row& row, const ColumnSpec& column, const Json& fields, const std::string& folder) {
  for (const std::string& name : names_of(column)) {
    auto field = fields.find(name);
    if (field == fields.end() || field->is_null()) continue;
    if (!field->is_string())
      return reading_.row_problem(
          "type", {row.where, "'" + name + "' is " + kind_of(*field) + "; the path of an image is wanted", "",
                   "write one path as a text", "E3004", Exit::bad_data});
    auto path = field->get<std::string>();
    bool relative = !path.starts_with('/');
    return reading_.add_image(row, column.name, (relative && !path.empty() ? folder : "") + path,
                              name + " '" + path + "'");
  }
  if (column.required) note_absent(row, column, fields);
}

void RowReader::add_text(Row& row, const ColumnSpec& column, const Json& fields) {
  auto field = fields.find(column.in_data());
  if (field != fields.end() && field->is_string()) {
    row.values[column.name] = std::string(trimmed(field->get_ref<const std::string&>()));
    return;
  }
  if (field != fields.end() && !field->is_null())
    return reading_.row_problem(
        "type", {row.where, "'" + column.in_data() + "' is " + kind_of(*field) + "; a text is wanted", "",
                 "write it in double quotes", "E3004", Exit::bad_data});
  if (column.required) note_absent(row, column, fields);
  if (!column.required || reading_.options.caption_missing == CaptionMissing::error) return;
  auto image =
      std::find_if(reading_.columns.begin(), reading_.columns.end(), [&](const ColumnSpec& c) { return c.is_image; });
  bool from_name = reading_.options.caption_missing == CaptionMissing::filename && image != reading_.columns.end();
  row.values[column.name] =
      from_name ? caption_from_name(reading_.dataset.pictures->own_name(row.values[image->name])) : "";
}

void RowReader::note_absent(const Row& row, const ColumnSpec& column, const Json& fields) {
  Absent& absent = absent_[column.name];
  bool skips = reading_.skips() && !fills(column);
  if (absent.rows++ > 0 && !skips) return;
  if (absent.rows == 1) absent.first = row.where;
  std::vector<std::string> here;
  for (auto field = fields.begin(); field != fields.end(); ++field) here.push_back(field.key());
  absent.first_error = {row.where, "no field " + quoted(names_of(column)), "", "add it", "E3004", Exit::bad_data};
  if (auto similar = similar_field(names_of(column), here)) {
    absent.first_error.what += "; found '" + *similar + "'. Did you mean " + names_of(column).front() + "?";
    absent.first_error.todo = "correct the name";
  } else if (reading_.surveying && !column.is_image) {
    absent.first_error = {row.where, "no text; looked for '" + column.in_data() + "'", "",
                          "write one, or set data.caption_missing to empty or filename", "E3003", Exit::bad_data};
  }
  if (skips) reading_.row_problem("field " + column.name, absent.first_error);
}

// The fields that rows have, the commonest first.
std::string RowReader::field_names(size_t most) const {
  std::vector<std::pair<size_t, std::string>> names;
  for (const auto& [name, count] : fields_) names.push_back({count, name});
  std::stable_sort(names.begin(), names.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string list;
  for (size_t i = 0; i < std::min(most, names.size()); ++i) list += (list.empty() ? "" : ", ") + names[i].second;
  return names.size() > most ? list + ", …" : list.empty() ? "none" : list;
}

void RowReader::tell_absent(const ColumnSpec& column, const Absent& absent) {
  std::string part = std::to_string(absent.rows) + " of " + counted(rows_, "row");
  if (fills(column)) {
    reading_.dataset.notices.push_back(part + " without '" + column.in_data() + "'; " +
                                       (reading_.options.caption_missing == CaptionMissing::empty
                                            ? "the empty text is used"
                                            : "made from the file's name"));
  } else if (absent.rows == rows_ && (column.in_data() == column.name || rows_ > 1)) {
    std::vector<std::string> here;
    for (const auto& field : fields_) here.push_back(field.first);
    std::string wanted = column.in_data() == column.name ? "" : ", which the task wants as '" + column.name + "'";
    Error error{reading_.dataset.root,
                "no row has a field " + quoted(names_of(column)) + wanted,
                "The fields are: " + field_names(12),
                "set data.columns: {" + column.name + ": NAME}, NAME being the field that is meant",
                "E3013",
                Exit::bad_data};
    if (auto similar = similar_field(names_of(column), here))
      error.todo = "if '" + *similar + "' is the one, set data.columns: {" + column.name + ": " + *similar + "}";
    reading_.problems.drop("field " + column.name);  // said once instead of for each row
    reading_.problems.add("column " + column.name, error);
  } else if (reading_.skips()) {
    return;  // each such row is listed as bad
  } else if (column.is_image) {
    reading_.problems.add("field", absent.first_error);
    if (absent.rows > 1) {
      Error rest = absent.first_error;
      rest.what = part + " have no field " + quoted(names_of(column)) + ", the line above being the first";
      rest.where = reading_.dataset.root;
      reading_.problems.add("field", rest);
    }
  } else {
    reading_.problems.add(
        "no caption", {reading_.dataset.root,
                       part + (absent.rows == 1 ? " has no text" : " have no text") + " (first: " + absent.first +
                           "; looked for '" + column.in_data() + "')",
                       "", "write them, or set data.caption_missing to empty or filename", "E3003", Exit::bad_data});
  }
}

void RowReader::finish() {
  if (reading_.guess) return finish_guess();
  for (const ColumnSpec& column : reading_.columns)
    if (auto found = absent_.find(column.name); found != absent_.end()) tell_absent(column, found->second);
}

// ---- columns by the data itself ----

bool RowReader::enough() const { return reading_.guess && rows_ >= rows_to_guess_by; }

void RowReader::guess(const Json& fields) {
  for (const auto& [name, value] : fields.items()) {
    if (value.is_null()) continue;
    const bool text = value.is_string();
    declare(name, text && is_image_name(value.get_ref<const std::string&>()) ? TableColumn::Kind::picture
                  : text                                                     ? TableColumn::Kind::text
                                                                             : TableColumn::Kind::other);
  }
}

void RowReader::declare(const std::string& field, TableColumn::Kind kind) {
  Kinds& kinds = kinds_[field];
  ++(kind == TableColumn::Kind::picture ? kinds.pictures : kind == TableColumn::Kind::text ? kinds.texts : kinds.others);
}

void RowReader::finish_guess() {
  ColumnGuess& out = *reading_.guess;
  for (const auto& [field, kinds] : kinds_) {
    const bool picture = kinds.pictures > kinds.texts;
    const size_t most = std::max(kinds.pictures, kinds.texts);
    const std::string name = picture ? column_of(field) : field;
    const bool there = std::any_of(out.columns.begin(), out.columns.end(), [&](const ColumnSpec& c) { return c.name == name; });
    if (most <= kinds.others) out.others.push_back(field);
    else if (!there) out.columns.push_back({name, picture, "", 2 * most > rows_});
  }
  // Pictures first, as people write them.
  std::stable_partition(out.columns.begin(), out.columns.end(), [](const ColumnSpec& c) { return c.is_image; });
}

}  // namespace t2i
