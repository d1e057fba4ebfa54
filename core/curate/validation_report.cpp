#include "core/curate/validation_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/data/text.h"

namespace t2i {
namespace {

constexpr size_t sizes_shown = 8;

std::string title_of(const std::string& kind) {
  for (const auto& [name, title] : problem_kinds())
    if (name == kind) return title;
  return kind;
}

// "input_image and output_image (pictures), instruction (text)"
std::string columns_text(const std::vector<ColumnSpec>& columns) {
  auto list = [&](bool images) {
    std::vector<std::string> names;
    for (const ColumnSpec& c : columns)
      if (c.is_image == images) names.push_back(c.source.empty() || c.source == c.name ? c.name : c.name + " = " + c.source);
    std::string text;
    for (size_t i = 0; i < names.size(); ++i) text += (i == 0 ? "" : i + 1 < names.size() ? ", " : " and ") + names[i];
    return names.empty() ? text : text + (images ? (names.size() == 1 ? " (picture)" : " (pictures)") : names.size() == 1 ? " (text)" : " (texts)");
  };
  const std::string images = list(true), texts = list(false);
  return images.empty() ? texts : texts.empty() ? images : images + ", " + texts;
}

std::string sizes_text(const ValidationReport& report) {
  std::vector<std::pair<uint64_t, std::pair<uint32_t, uint32_t>>> most;
  for (const auto& [size, count] : report.sizes) most.push_back({count, size});
  std::stable_sort(most.begin(), most.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string text;
  for (size_t i = 0; i < std::min(most.size(), sizes_shown); ++i)
    text += fmt::format("{}{} x {} ({})", i ? ", " : "", most[i].second.first, most[i].second.second, most[i].first);
  if (most.size() > sizes_shown) text += fmt::format(", and {} more", counted(most.size() - sizes_shown, "size"));
  return text;
}

std::string number(uint64_t n) {
  std::string text = counted(n, "");
  return text.substr(0, text.find(' '));
}

}  // namespace

const std::vector<std::pair<std::string, std::string>>& problem_kinds() {
  static const std::vector<std::pair<std::string, std::string>> kinds{
      {"missing_file", "files that are not there"},
      {"unreadable", "files that cannot be read"},
      {"outside", "paths that leave the folder"},
      {"bad_json", "lines that are not JSON"},
      {"wrong_type", "fields of another type"},
      {"missing_field", "rows without a field"},
      {"wrong_column", "columns that no row has"},
      {"missing_caption", "captions that are missing"},
      {"not_utf8", "texts that are not UTF-8"},
      {"damaged", "pictures that are damaged or cut short"},
      {"not_a_picture", "files that are no pictures"},
      {"too_large", "pictures that are too large"},
      {"size_mismatch", "pictures of one row that differ in size"},
      {"empty_caption", "empty captions"},
      {"long_caption", "captions over the token limit"},
      {"duplicate", "duplicates"},
      {"bad_table", "tables and archives that cannot be read"},
      {"nothing", "nothing to train on"}};
  return kinds;
}

std::string problem_kind_of(const ProblemKind& found) {
  static const std::map<std::string, std::string> by_id{
      {"E3001", "damaged"},      {"E3002", "not_a_picture"}, {"E3003", "missing_caption"}, {"E3005", "outside"},
      {"E3006", "size_mismatch"}, {"E3007", "too_large"},    {"E3008", "missing_file"},    {"E3009", "nothing"},
      {"E3010", "unreadable"},   {"E3012", "not_utf8"},      {"E3013", "wrong_column"},    {"E2133", "bad_table"},
      {"E2134", "duplicate"},    {"E2135", "bad_table"},     {"E4103", "missing_file"}};
  const std::string& id = found.first.front().id;
  if (id == "E3004") return found.name == "type" ? "wrong_type" : found.name.starts_with("field") ? "missing_field" : "bad_json";
  auto kind = by_id.find(id);
  return kind == by_id.end() ? "unreadable" : kind->second;
}

std::string report_text(const ValidationReport& r) {
  std::string text = fmt::format("{}: {} in {}", r.path, counted(r.rows, "row"), r.layout.empty() ? "it" : r.layout);
  if (r.samples > r.rows) text += fmt::format(", {} an epoch with their repeats", number(r.samples));
  text += fmt::format("\n{}{}\n", columns_text(r.columns), r.task.empty() ? "" : fmt::format(", as the task {} wants them", r.task));
  if (r.rows) text += fmt::format("{} of {} can be used; {}\n", number(r.usable), counted(r.rows, "row"),
                      r.decoded ? counted(r.pictures, "picture") + " decoded" : "the headers of " + counted(r.pictures, "picture") + " were read (--decode reads all of them)");
  if (!r.sizes.empty()) text += "sizes: " + sizes_text(r) + "\n";
  for (const ProblemKind& kind : r.problems.kinds()) {
    text += fmt::format("\n{}: {}\n", title_of(kind.name), number(kind.count));
    for (const Error& error : kind.first) text += "  " + to_string(error) + "\n";
    if (kind.count > kind.first.size()) text += fmt::format("  … and {} more; --all lists them\n", number(kind.count - kind.first.size()));
  }
  if (!r.notices.empty()) text += "\n";
  for (const std::string& notice : r.notices) text += "notice: " + notice + "\n";
  if (r.problems.empty()) text += "\nno problem was found\n";
  return text;
}

Json report_json(const ValidationReport& r) {
  Json columns = Json::array(), sizes = Json::array(), problems = Json::array();
  for (const ColumnSpec& c : r.columns)
    columns.push_back({{"name", c.name}, {"field", c.in_data()}, {"kind", c.is_image ? "picture" : "text"}, {"required", c.required}});
  for (const auto& [size, count] : r.sizes) sizes.push_back({{"width", size.first}, {"height", size.second}, {"pictures", count}});
  for (const ProblemKind& kind : r.problems.kinds()) {
    Json listed = Json::array();
    for (const Error& e : kind.first)
      listed.push_back({{"where", e.where}, {"what", e.what}, {"why", e.why}, {"todo", e.todo}, {"id", "T2I-" + e.id}});
    problems.push_back({{"kind", kind.name}, {"title", title_of(kind.name)}, {"count", kind.count}, {"listed", listed}});
  }
  return {{"data", r.path},           {"layout", r.layout},           {"task", r.task.empty() ? Json() : Json(r.task)},
          {"columns", columns},       {"rows", r.rows},               {"usable", r.usable},
          {"samples", r.samples},     {"pictures", r.pictures},       {"decoded", r.decoded},
          {"tokens_counted", r.counted_tokens}, {"sizes", sizes},     {"problem_count", r.problems.count()},
          {"problems", problems},     {"notices", r.notices},         {"ok", r.problems.empty()},
          {"seconds", r.seconds}};
}

}  // namespace t2i
