// Which libraries there are, and which of them offers what.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "core/plug/descriptors.h"
#include "core/plug/library.h"
#include "core/plug/trial.h"

namespace t2i {
namespace {

namespace fs = std::filesystem;

bool is_path(const std::string& text) { return text.find('/') != text.npos || text.ends_with(".so"); }

Error taken(const fs::path& file, std::string what, std::string todo) {
  return {file.string(), std::move(what), "", std::move(todo), "E2061", Exit::failed};
}

}  // namespace

Registry::Registry(std::vector<fs::path> search, const t2i_host* host) : search_(std::move(search)), host_(host) {}

void Registry::scan() {
  if (std::exchange(scanned_, true)) return;
  for (fs::path& file : find_plugins(search_, refused_)) candidates_.push_back({std::move(file), false});
}

void Registry::load(Candidate& candidate) {
  if (std::exchange(candidate.tried, true)) return;
  Result<LoadedPlugin> plugin = try_plugin(candidate.path, host_);
  if (!plugin) {
    refused_.push_back(plugin.error());
    return;
  }
  for (Component& c : plugin->components) {
    auto [there, fresh] = components_.emplace(std::pair(c.kind, c.id), c);
    if (!fresh && there->second.path != c.path)
      refused_.push_back(taken(candidate.path,
                               fmt::format("{} '{}' is already offered by {}", c.kind, c.id, there->second.path),
                               "Give the one you mean by its path."));
  }
}

const Component* Registry::known(const std::string& kind, const std::string& id) const {
  auto it = components_.find({kind, id});
  return it == components_.end() ? nullptr : &it->second;
}

// A component named by its library's path: kept under that path, so that it hides no other and is hidden by none.
const Component& Registry::add(const fs::path& file, const std::string& kind) {
  LoadedPlugin plugin = try_plugin(file, host_).take();
  if (const Component* c = known(kind, plugin.path.string())) return *c;
  std::vector<std::string> names;
  const Component* only = nullptr;
  for (const Component& c : plugin.components)
    if (c.kind == kind) names.push_back(c.id), only = &c;
  if (names.size() != 1)
    fail({file.string(),
          names.empty() ? fmt::format("this plugin offers no {}", kind)
                        : fmt::format("this plugin offers several of kind {}: {}", kind, fmt::join(names, ", ")),
          "", names.empty() ? "Name another library." : "Give the file as --plugin-path and the component by name.",
          "E2052", Exit::config});
  return components_.emplace(std::pair(kind, plugin.path.string()), *only).first->second;
}

const Component& Registry::find(const std::string& kind, const std::string& id_or_path) {
  if (is_path(id_or_path)) return add(id_or_path, kind);
  scan();
  const std::string own_name = "t2i-" + id_or_path + ".so";
  for (bool by_name : {true, false}) {
    if (const Component* c = known(kind, id_or_path)) return *c;
    for (Candidate& candidate : candidates_) {
      if (by_name != (candidate.path.filename() == own_name)) continue;
      load(candidate);
      if (const Component* c = known(kind, id_or_path)) return *c;
    }
  }
  // Not there: say so, with the refusal of its own library alone if that is why, else with all refusals.
  std::vector<Error> own, all;
  for (const Error& e : refused_) (fs::path(e.where).filename() == own_name ? own : all).push_back(e);
  if (!own.empty()) throw Failure(std::move(own));
  std::vector<std::string> names;
  for (const auto& [key, component] : components_)
    if (key.first == kind && key.second == component.id) names.push_back(component.id);
  std::optional<std::string> near = nearest(id_or_path, names);
  all.insert(all.begin(), Error{"", fmt::format("there is no {} '{}'", kind, id_or_path), "",
                                fmt::format("{}There {}: {}.", near ? "Did you mean '" + *near + "'? " : "",
                                            names.size() == 1 ? "is" : "are",
                                            names.empty() ? "none; is lib/t2i beside the program?"
                                                          : fmt::format("{}", fmt::join(names, ", "))),
                                "E2051", Exit::config});
  throw Failure(std::move(all));
}

std::vector<Component> Registry::list() {
  scan();
  for (Candidate& candidate : candidates_) load(candidate);
  std::vector<Component> all;
  for (const auto& [key, component] : components_)
    if (key.second == component.id) all.push_back(component);
  return all;
}

}  // namespace t2i
