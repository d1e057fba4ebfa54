// Rows from .jsonl files: a JSON object a line, its fields the columns, images by their path.
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/data/rows.h"
#include "core/data/text.h"

namespace t2i {
namespace {

constexpr uint64_t max_jsonl_bytes = uint64_t{4} << 30;

std::optional<std::string> text_of(DatasetReading& reading, const std::string& path, bool named) {
  std::string shown = reading.shown(path);
  if (named) {
    auto text = t2i::read_file(shown, max_jsonl_bytes);
    if (!text) return reading.problems.add("file", text.error()), std::nullopt;
    return text.take();
  }
  auto file = reading.folder.open(path, shown, "the file");
  if (!file) return reading.problems.add("file", file.error()), std::nullopt;
  auto bytes = read_all(file.take(), max_jsonl_bytes, shown, "the file");
  if (!bytes) return reading.problems.add("file", bytes.error()), std::nullopt;
  return std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size());
}

void read_lines(DatasetReading& reading, RowReader& rows, const std::string& path, bool named) {
  std::string shown = reading.shown(path);
  std::optional<std::string> text = text_of(reading, path, named);
  if (!text) return;
  std::string folder = path.find('/') == path.npos ? "" : path.substr(0, path.rfind('/') + 1);
  std::string_view rest = *text;
  if (rest.starts_with("\xef\xbb\xbf")) rest.remove_prefix(3);
  if (rest.starts_with("\xff\xfe") || rest.starts_with("\xfe\xff"))
    return reading.problems.add("utf8", {shown, "UTF-16, not UTF-8", "", "save it as UTF-8", "E3012", Exit::bad_data});
  JsonRules rules;
  rules.max_bytes = max_json_line_bytes;
  rules.max_depth = max_json_depth;
  rules.id = "E3004";
  for (rules.first_line = 1; !rest.empty() && !rows.enough(); ++rules.first_line) {
    size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
    if (trimmed(line).empty()) continue;
    auto json = parse_json(line, shown, rules);
    std::string where = shown + ":" + std::to_string(rules.first_line);
    if (!json) rows.bad(where, json.error());
    else rows.read(*json, folder, where);
  }
}

}  // namespace

void read_jsonl(DatasetReading& reading, const std::vector<std::string>& paths, bool named) {
  RowReader rows(reading);
  for (const std::string& path : paths) read_lines(reading, rows, path, named);
  rows.finish();
}

}  // namespace t2i
