#include "core/plug/plugins_command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/plug/check/check_command.h"
#include "core/plug/host.h"
#include "core/plug/library.h"

namespace t2i {
namespace {

int list(Registry& registry) {
  for (const Component& c : registry.list())
    fmt::print("{:<7} {:<16} {:<8} {}\n", c.kind, printable(c.id), printable(c.version), printable(c.doc));
  for (const Error& e : registry.refused()) fmt::print(stderr, "{}\n", to_string(e));
  return static_cast<int>(Exit::done);
}

void print_options(const Component& c) {
  for (const auto& [name, option] : c.schema.items()) {
    std::string type = option.value("type", "");
    if (option.contains("enum")) {
      std::vector<std::string> choices;
      for (const auto& choice : option["enum"]) choices.push_back(choice.is_string() ? choice.get<std::string>() : choice.dump());
      type = fmt::format("{}", fmt::join(choices, "|"));
    }
    fmt::print("    {} ({}{}): {}\n", printable(name), printable(type),
               option.contains("default") ? ", default " + option["default"].dump() : ", must be given",
               printable(option.value("description", "")));
  }
}

int info(Registry& registry, const std::string& id) {
  std::vector<Component> all = registry.list();
  std::vector<std::string> names;
  std::string plugin;
  for (const Component& c : all) {
    names.push_back(c.id), names.push_back(c.plugin_id);
    if (c.id != id && c.plugin_id != id) continue;
    if (plugin != c.plugin_id) fmt::print("plugin {} {}\n  {}\n", printable(c.plugin_id), printable(c.version), c.path);
    plugin = c.plugin_id;
    fmt::print("  {} {}: {}\n", c.kind, printable(c.id), printable(c.doc));
    print_options(c);
  }
  if (!plugin.empty()) return static_cast<int>(Exit::done);
  std::optional<std::string> near = nearest(id, names);
  std::vector<Error> errors{{"", "there is no plugin or component '" + id + "'", "",
                             near ? "Did you mean '" + *near + "'?" : "`t2i plugins list` shows what there is.", "E2051", Exit::config}};
  errors.insert(errors.end(), registry.refused().begin(), registry.refused().end());
  throw Failure(std::move(errors));
}

}  // namespace

int plugins_command(const PluginsOptions& options) {
  if (options.action == "check") return check_command(options);  // before anything starts a thread: it forks
  Registry registry(plugin_search_path(options.plugin_paths), host());
  return options.action == "list" ? list(registry) : info(registry, options.subject);
}

}  // namespace t2i
