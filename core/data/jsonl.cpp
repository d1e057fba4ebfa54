// Rows from .jsonl files: a JSON object a line, its fields the columns, images by their path.
#include <fmt/format.h>

#include <algorithm>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/data/layout.h"
#include "core/data/text.h"

namespace t2i {
namespace {

constexpr uint64_t max_jsonl_bytes = uint64_t{4} << 30;

// What can only be said when every row has been seen.
struct Absent {
  size_t rows = 0;
  std::string first, first_image;
  Error first_error;  // for an image column
  size_t more = 0;    // errors beyond the first
};

class JsonlReader {
  DatasetReading& reading_;
  size_t rows_ = 0;
  std::map<std::string, size_t> fields_;  // name → rows that have it
  std::map<std::string, Absent> absent_;  // by column name

 public:
  explicit JsonlReader(DatasetReading& reading) : reading_(reading) {}
  void read_file(const std::string& path, bool named);
  void finish();

 private:
  std::optional<std::string> text_of(const std::string& path, bool named);
  void bad_line(const std::string& where, Error error);
  void read_row(const Json& json, const std::string& folder, const std::string& where);
  void add_text(Row& row, const ColumnSpec& column, const Json& json);
  void add_path(Row& row, const ColumnSpec& column, const Json& json, const std::string& folder);
  bool fills(const ColumnSpec& column) const {  // a text that is not there is made
    return !column.is_image && reading_.options.caption_missing != CaptionMissing::error;
  }
  void note_absent(const Row& row, const ColumnSpec& column, const Json& json);
  std::string field_names(size_t most) const;
};

// The names that a column's field may have in a row, the likeliest first.
std::vector<std::string> names_of(const ColumnSpec& column) {
  const std::string& name = column.in_data();
  if (!column.is_image) return {name};
  if (name == "image") return {"file_name", "image", "image_file_name"};
  return {name + "_file_name", name};
}

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

std::optional<std::string> JsonlReader::text_of(const std::string& path, bool named) {
  std::string shown = reading_.shown(path);
  if (named) {
    auto text = t2i::read_file(shown, max_jsonl_bytes);
    if (!text) return reading_.problems.add("file", text.error()), std::nullopt;
    return text.take();
  }
  auto file = reading_.folder.open(path, shown, "the file");
  if (!file) return reading_.problems.add("file", file.error()), std::nullopt;
  auto bytes = read_all(file.take(), max_jsonl_bytes, shown, "the file");
  if (!bytes) return reading_.problems.add("file", bytes.error()), std::nullopt;
  return std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size());
}

// No row can be made of it; where such lines are skipped, an empty one holds its place.
void JsonlReader::bad_line(const std::string& where, Error error) {
  reading_.row_problem("syntax", std::move(error));
  if (!reading_.options.skip_bad_files) return;
  Row row;
  row.where = where;
  reading_.add_row(std::move(row));
}

void JsonlReader::read_file(const std::string& path, bool named) {
  std::string shown = reading_.shown(path);
  std::optional<std::string> text = text_of(path, named);
  if (!text) return;
  std::string folder = path.find('/') == path.npos ? "" : path.substr(0, path.rfind('/') + 1);
  std::string_view rest = *text;
  if (rest.starts_with("\xef\xbb\xbf")) rest.remove_prefix(3);
  if (rest.starts_with("\xff\xfe") || rest.starts_with("\xfe\xff"))
    return reading_.problems.add("utf8", {shown, "UTF-16, not UTF-8", "", "save it as UTF-8", "E3012", Exit::bad_data});
  JsonRules rules;
  rules.max_bytes = max_json_line_bytes;
  rules.max_depth = max_json_depth;
  rules.id = "E3004";
  for (rules.first_line = 1; !rest.empty(); ++rules.first_line) {
    size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
    if (trimmed(line).empty()) continue;
    ++rows_;
    auto json = parse_json(line, shown, rules);
    std::string where = shown + ":" + std::to_string(rules.first_line);
    if (!json) bad_line(where, json.error());
    else if (!json->is_object())
      bad_line(where, {where, std::string("a row must be an object, like {\"text\": …}; this is ") + kind_of(*json), "",
                       "write one object a line", "E3004", Exit::bad_data});
    else read_row(*json, folder, where);
  }
}

void JsonlReader::read_row(const Json& json, const std::string& folder, const std::string& where) {
  for (auto field = json.begin(); field != json.end(); ++field) ++fields_[field.key()];
  Row row;
  row.where = where;
  for (const ColumnSpec& column : reading_.columns)  // images first: a caption may be made of their name
    if (column.is_image) add_path(row, column, json, folder);
  for (const ColumnSpec& column : reading_.columns)
    if (!column.is_image) add_text(row, column, json);
  reading_.add_row(std::move(row));
}

void JsonlReader::add_path(Row& row, const ColumnSpec& column, const Json& json, const std::string& folder) {
  for (const std::string& name : names_of(column)) {
    auto field = json.find(name);
    if (field == json.end() || field->is_null()) continue;
    if (!field->is_string())
      return reading_.row_problem(
          "type", {row.where, "'" + name + "' is " + kind_of(*field) + "; the path of an image is wanted", "",
                   "write one path as a text", "E3004", Exit::bad_data});
    auto path = field->get<std::string>();
    bool relative = !path.starts_with('/');
    return reading_.add_image(row, column.name, (relative && !path.empty() ? folder : "") + path,
                              name + " '" + path + "'");
  }
  if (column.required) note_absent(row, column, json);
}

void JsonlReader::add_text(Row& row, const ColumnSpec& column, const Json& json) {
  auto field = json.find(column.in_data());
  if (field != json.end() && field->is_string()) {
    row.values[column.name] = std::string(trimmed(field->get_ref<const std::string&>()));
    return;
  }
  if (field != json.end() && !field->is_null())
    return reading_.row_problem(
        "type", {row.where, "'" + column.in_data() + "' is " + kind_of(*field) + "; a text is wanted", "",
                 "write it in double quotes", "E3004", Exit::bad_data});
  if (column.required) note_absent(row, column, json);
  if (!column.required || reading_.options.caption_missing == CaptionMissing::error) return;
  auto image =
      std::find_if(reading_.columns.begin(), reading_.columns.end(), [&](const ColumnSpec& c) { return c.is_image; });
  bool from_name = reading_.options.caption_missing == CaptionMissing::filename && image != reading_.columns.end();
  row.values[column.name] = from_name ? caption_from_name(row.values[image->name]) : "";
}

void JsonlReader::note_absent(const Row& row, const ColumnSpec& column, const Json& json) {
  Absent& absent = absent_[column.name];
  bool skips = reading_.options.skip_bad_files && !fills(column);
  if (absent.rows++ > 0 && !skips) return;
  if (absent.rows == 1) absent.first = row.where;
  std::vector<std::string> here;
  for (auto field = json.begin(); field != json.end(); ++field) here.push_back(field.key());
  absent.first_error = {row.where, "no field " + quoted(names_of(column)), "", "add it", "E3004", Exit::bad_data};
  if (auto similar = similar_field(names_of(column), here)) {
    absent.first_error.what += "; found '" + *similar + "'. Did you mean " + names_of(column).front() + "?";
    absent.first_error.todo = "correct the name";
  }
  if (skips) reading_.row_problem("field", absent.first_error);
}

// The fields that rows have, the commonest first.
std::string JsonlReader::field_names(size_t most) const {
  std::vector<std::pair<size_t, std::string>> names;
  for (const auto& [name, count] : fields_) names.push_back({count, name});
  std::stable_sort(names.begin(), names.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string list;
  for (size_t i = 0; i < std::min(most, names.size()); ++i) list += (list.empty() ? "" : ", ") + names[i].second;
  return names.size() > most ? list + ", …" : list.empty() ? "none" : list;
}

void JsonlReader::finish() {
  for (const ColumnSpec& column : reading_.columns) {
    auto found = absent_.find(column.name);
    if (found == absent_.end()) continue;
    const Absent& absent = found->second;
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
      reading_.problems.add("column " + column.name, error);
    } else if (reading_.options.skip_bad_files) {
      continue;  // each such row is listed as bad
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
}

}  // namespace

void read_jsonl(DatasetReading& reading, const std::vector<std::string>& paths, bool named) {
  JsonlReader reader(reading);
  for (const std::string& path : paths) reader.read_file(path, named);
  reader.finish();
}

}  // namespace t2i
