#include "core/plug/catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/base/forked.h"
#include "core/base/version.h"
#include "core/config/schema_check.h"
#include "core/plug/descriptors.h"

namespace t2i {
namespace {

namespace fs = std::filesystem;

constexpr double trial_seconds = 20;

// No services: nothing is started.
const t2i_host& host_without_engine() {
  static const t2i_host host = {sizeof(t2i_host), T2I_ABI_MAJOR, T2I_ABI_MINOR, version, T2I_TORCH_VERSION, nullptr, nullptr, nullptr, nullptr};
  return host;
}

bool is_built_in(const fs::path& file) {
  std::error_code ec;
  return fs::equivalent(file.parent_path(), engine_library().parent_path() / "t2i", ec) && !ec;
}

Result<const t2i_plugin*> read_descriptor(const fs::path& file) {
  if (!is_built_in(file)) {
    // A refusal is left to the second time, which gives the sentence.
    Forked trial = run_forked([&] { return (void)open_plugin(file, host_without_engine()), std::string(); }, trial_seconds);
    if (!trial.died.empty())
      return Error{file.string(), "this library was tried in a process of its own and cannot be loaded: " + trial.died, "",
                   "Remove it, or ask its author to repair it; `t2i plugins check` shows all.", "E2065", Exit::failed};
  }
  return open_plugin(file, host_without_engine());
}

}  // namespace

std::vector<std::string> Catalog::ids(const std::string& kind) const {
  std::vector<std::string> out;
  for (const Offer& o : offers)
    if (o.kind == kind) out.push_back(o.id);
  return out;
}

const Offer* Catalog::find(const std::string& kind, const std::string& id) const {
  auto at = std::ranges::find_if(offers, [&](const Offer& o) { return o.kind == kind && o.id == id; });
  return at == offers.end() ? nullptr : &*at;
}

Catalog read_catalog(const std::vector<std::string>& extra) {
  Catalog catalog;
  catalog.interface = fmt::format("{}.{}", T2I_ABI_MAJOR, T2I_ABI_MINOR);
  catalog.places = plugin_search_path(extra);
  std::map<std::pair<std::string, std::string>, Offer> offers;
  for (const fs::path& file : find_plugins(catalog.places, catalog.refused)) {
    if (Result<PluginTag> tag = read_plugin_tag(file); tag && tag->torch == T2I_TORCH_VERSION) {
      catalog.not_read.push_back(file.string());
      continue;
    }
    Result<const t2i_plugin*> plugin = read_descriptor(file);
    if (!plugin) {
      catalog.refused.push_back(plugin.error());
      continue;
    }
    ++catalog.libraries;
    for (Component& c : components_of(**plugin, file)) {
      if (auto wrong = schema_problems(c.schema); !wrong.empty()) {
        catalog.refused.push_back({file.string(), fmt::format("{} '{}' declares options wrongly: {}", c.kind, c.id, wrong[0]), "", "tell the plugin's author", "E1012", Exit::config});
        continue;
      }
      auto [there, fresh] = offers.try_emplace({c.kind, c.id}, Offer{c.kind, c.id, c.doc, c.schema, c.opens, c.path});
      if (!fresh)
        catalog.refused.push_back({file.string(), fmt::format("{} '{}' is already offered by {}", c.kind, c.id, there->second.path), "",
                                   "Give the one you mean by its path.", "E2061", Exit::failed});
    }
  }
  for (auto& [name, offer] : offers) catalog.offers.push_back(std::move(offer));
  return catalog;
}

}  // namespace t2i
