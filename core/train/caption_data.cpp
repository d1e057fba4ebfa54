#include "core/train/caption_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>
#include <set>

#include "core/data/text.h"

namespace t2i {
namespace {

constexpr const char* mark = "caption/";  // before the name of a column that data.caption_weights names

bool is_prompt(const Task& task, const std::string& column) {
  return std::ranges::any_of(task.columns(), [&](const TaskColumn& c) { return c.name == column && c.use == "prompt"; });
}

double weight_of(const std::string& name, const std::string& text) {
  double weight = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
  if (error == std::errc() && end == text.data() + text.size() && std::isfinite(weight) && weight >= 0) return weight;
  fail({"data.caption_weights", fmt::format("'{}' of {} is no number of 0 or more", text, name), "", "write it as {text: 3, tags: 1}", "E8091", Exit::config});
}

}  // namespace

std::vector<ColumnSpec> columns_to_read(const Config& config, const Task& task, const std::vector<ColumnSpec>& wanted) {
  if (config.data.caption_weights.empty()) return wanted;
  std::vector<ColumnSpec> columns;
  double sum = 0;
  for (const ColumnSpec& column : wanted) {
    if (!is_prompt(task, column.name)) {
      columns.push_back(column);
      continue;
    }
    for (const auto& [name, weight] : config.data.caption_weights) {
      sum += weight_of(name, weight);
      columns.push_back({mark + name, false, name, false});
    }
  }
  if (sum == 0) fail({"data.caption_weights", "all weights are 0", "", "write it as {text: 3, tags: 1}", "E8091", Exit::config});
  return columns;
}

void set_captions(RunData& data, const Config& config, const Task& task) {
  CaptionRules& rules = data.caption_rules;
  rules.prefix = config.data.caption_prefix, rules.suffix = config.data.caption_suffix;
  rules.shuffle = config.data.shuffle_tags, rules.separator = config.data.tag_separator, rules.keep = config.data.keep_tags;
  const auto& kinds = config.data.cache_kinds;
  if (rules.shuffle && config.data.cache != "off" && std::ranges::count(kinds, "text")) rules.kept_orders = config.data.cache_shuffles;
  if (rules.separator.empty()) rules.shuffle = false;  // no tags
  const auto& weights = config.data.caption_weights;
  if (!weights.empty()) {
    auto captions = std::make_shared<std::vector<std::vector<Caption>>>(data.dataset.rows.size());
    std::vector<Error> errors;
    size_t without = 0;
    std::set<uint64_t> bad;
    for (const BadRow& row : data.dataset.bad) bad.insert(row.index);
    for (Row& row : data.dataset.rows) {
      std::vector<Caption>& own = (*captions)[row.index];
      for (const auto& [name, weight] : weights) {
        auto text = row.values.find(mark + name);
        if (text == row.values.end()) continue;
        if (const double w = weight_of(name, weight); w > 0 && !trimmed(text->second).empty()) own.push_back({text->second, w});
        row.values.erase(text);
      }
      if (own.empty()) {
        if (!bad.contains(row.index) && config.data.caption_missing != "empty" && without++ == 0) errors.push_back({row.where, "", "", "", "E8090", Exit::bad_data});
        own.push_back({"", 1});
      }
      for (const TaskColumn& column : task.columns())
        if (column.use == "prompt") row.values[column.name] = own.front().text;
    }
    if (!errors.empty()) {
      errors[0].what = fmt::format("has none of the captions that data.caption_weights names{}", without > 1 ? fmt::format(", as {} more", counted(without - 1, "row")) : "");
      errors[0].todo = "write one of them, or set data.caption_missing: empty";
      throw Failure(std::move(errors));
    }
    data.captions = std::move(captions);
  }
  if (rules.changes_nothing() && !data.captions) return;
  std::vector<std::string> prompts;
  for (const TaskColumn& column : task.columns())
    if (column.use == "prompt") prompts.push_back(column.name);
  data.loader.text_of = [rules, prompts, captions = data.captions](const Row& row, const std::string& column, const DrawKey& key) {
    const std::string& written = row.values.at(column);
    if (!std::ranges::count(prompts, column)) return written;
    return captions ? drawn_caption((*captions)[row.index], rules, key) : drawn_caption({{written}}, rules, key);
  };
}

std::vector<Caption> captions_of(const RunData& data, const Row& row, const std::string& column) {
  if (data.captions) return (*data.captions)[row.index];
  auto text = row.values.find(column);
  return text == row.values.end() ? std::vector<Caption>() : std::vector<Caption>{{text->second}};
}

}  // namespace t2i
