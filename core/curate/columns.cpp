#include "core/curate/columns.h"

#include <algorithm>

#include "core/config/schema_check.h"

namespace t2i {
namespace {

// As the configuration has the task's options, or its own.
std::unique_ptr<Task> make_task(const Component& component, const Json& options, const Config& config) {
  OptionsCheck checked = check_options(options, component.schema, "task", "task '" + component.id + "'", config.positions);
  if (!checked.errors.empty()) throw Failure(std::move(checked.errors));
  return std::make_unique<Task>(component, checked.options);
}

bool has(const ColumnGuess& guess, const ColumnSpec& wanted) {
  return std::any_of(guess.columns.begin(), guess.columns.end(), [&](const ColumnSpec& c) { return c.is_image == wanted.is_image && c.name == wanted.in_data(); });
}

std::vector<std::string> texts_of(const std::vector<ColumnSpec>& columns) {
  std::vector<std::string> names;
  for (const ColumnSpec& column : columns)
    if (!column.is_image) names.push_back(column.name);
  return names;
}

WantedColumns guessed(const ColumnGuess& guess, const Config& config) {
  WantedColumns wanted;
  wanted.columns = guess.columns, wanted.others = guess.others;
  for (const auto& [name, source] : config.data.columns)
    for (ColumnSpec& column : wanted.columns)
      if (column.name == source && name != source) column.source = source, column.name = name;
  // Data without pictures are none: what is looked for says why.
  const bool no_image = std::none_of(wanted.columns.begin(), wanted.columns.end(), [](const ColumnSpec& c) { return c.is_image; });
  if (wanted.columns.empty()) wanted.columns = {{"image", true}, {"text", false}};
  else if (no_image) wanted.columns.insert(wanted.columns.begin(), ColumnSpec{"image", true});
  wanted.captions = texts_of(wanted.columns);
  return wanted;
}

}  // namespace

WantedColumns columns_of_task(const Task& task, const Config& config) {
  WantedColumns wanted;
  wanted.task = task.id();
  for (const TaskColumn& column : task.columns()) {
    auto mapped = config.data.columns.find(column.name);
    wanted.columns.push_back({column.name, column.is_image, mapped == config.data.columns.end() ? "" : mapped->second, true});
    if (column.use == "prompt") wanted.captions.push_back(column.name);
  }
  return wanted;
}

WantedColumns all_columns(const Config& config, Registry& registry, const DatasetOptions& options) {
  if (!config.task.name.empty())
    return columns_of_task(*make_task(registry.find("task", config.task.name), config.task.options, config), config);
  return guessed(guess_columns(config.data.path, options), config);
}

WantedColumns wanted_columns(const Config& config, Registry& registry, const DatasetOptions& options) {
  if (!config.task.name.empty()) return all_columns(config, registry, options);
  const ColumnGuess guess = guess_columns(config.data.path, options);
  WantedColumns best;
  for (const Component& component : registry.list()) {
    if (component.kind != "task") continue;
    try {
      WantedColumns wanted = columns_of_task(*make_task(component, Json::object(), config), config);
      const bool all = std::all_of(wanted.columns.begin(), wanted.columns.end(), [&](const ColumnSpec& c) { return has(guess, c); });
      if (all && wanted.columns.size() > best.columns.size()) best = std::move(wanted);
    } catch (const Failure&) {  // it needs options: somebody who means it will name it
    }
  }
  if (best.columns.empty()) return guessed(guess, config);
  best.others = guess.others;
  return best;
}

}  // namespace t2i
