#include "core/plug/library.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#define BOOST_DLL_USE_STD_FS
#include <boost/dll/runtime_symbol_info.hpp>
#include <boost/dll/shared_library.hpp>
#include <cstdlib>
#include <iterator>
#include <set>
#include <sstream>

#include "core/plug/descriptors.h"

namespace t2i {
namespace {

namespace fs = std::filesystem;

constexpr const char* engine_name = "libt2i_engine.so";

// A group that only its owner is in, as Debian and Ubuntu make one for each user: writable by it is writable by the
// owner.
bool private_group(gid_t group, uid_t owner) {
  const struct group* g = ::getgrgid(group);
  const struct passwd* p = ::getpwuid(owner);
  if (!g || !p || p->pw_gid != group) return false;
  for (char** member = g->gr_mem; *member; ++member)
    if (std::string(*member) != p->pw_name) return false;
  return true;
}

std::optional<Error> permission_problem(const fs::path& path, const std::set<uid_t>& trusted) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return std::nullopt;  // whoever opens it says so
  auto problem = [&](const std::string& what, const std::string& todo) {
    return Error{path.string(), what, "Whoever can write there could run code as you", todo, "E2057", Exit::failed};
  };
  if (!trusted.count(st.st_uid))
    return problem(
        fmt::format("this belongs to user {}, not to you or root; plugins are not loaded from there", st.st_uid),
        fmt::format("chown {} '{}'", ::geteuid(), path.string()));
  if ((st.st_mode & S_IWOTH) || ((st.st_mode & S_IWGRP) && !private_group(st.st_gid, st.st_uid)))
    return problem("others than its owner may write to this; plugins are not loaded from there",
                   fmt::format("chmod go-w '{}'", path.string()));
  return std::nullopt;
}

Error refusal(const fs::path& file, std::string what, std::string todo, std::string id, Exit exit = Exit::failed) {
  return {file.string(), std::move(what), "", std::move(todo), std::move(id), exit};
}

// Does the tag fit this core?
std::optional<Error> tag_problem(const fs::path& file, const PluginTag& tag, const t2i_host& host) {
  if (tag.abi_major != host.abi_major || (tag.abi_major == 0 && tag.abi_minor != host.abi_minor))
    return refusal(file,
                   fmt::format("plugin '{}' was built for plugin interface {}.{}; this core has {}.{}", tag.id,
                               tag.abi_major, tag.abi_minor, host.abi_major, host.abi_minor),
                   "Rebuild it with this t2i's SDK, or ask its author for a build.", "E2055");
  if (tag.torch != "any" && tag.torch != host.torch_version)
    return refusal(
        file,
        fmt::format("plugin '{}' was built for torch {}; this core has {}", tag.id, tag.torch, host.torch_version),
        "Rebuild it, or ask its author for a stable-tier build.", "E2056");
  return std::nullopt;
}

Result<const t2i_plugin*> open_library(const fs::path& file) {
  try {
    // Never destroyed: what it holds is pointed to until the process ends.
    auto* library =
        new boost::dll::shared_library(file, boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local);
    if (!library->has(T2I_ENTRY_NAME))
      return refusal(file, "this library does not export " T2I_ENTRY_NAME,
                     "Build it with T2I_PLUGIN(...) and t2i_add_plugin().", "E2058");
    return library->get<const t2i_plugin*()>(T2I_ENTRY_NAME)();
  } catch (const std::exception& e) {
    return refusal(file, "this library cannot be loaded: " + std::string(e.what()),
                   "Rebuild it; a plugin links nothing beyond the C and C++ libraries.", "E2058");
  } catch (...) {
    return refusal(file, "an exception came out of " T2I_ENTRY_NAME "()", "Ask its author to repair it.", "E2058");
  }
}

std::optional<Error> start(const fs::path& file, const t2i_plugin& plugin, const t2i_host* host) {
  auto failed = [&](const std::string& what) {
    return refusal(file, fmt::format("plugin '{}' {} could not start: {}", plugin.id, plugin.version, what),
                   "Get a build for this t2i, or ask its author.", "E2062");
  };
  try {
    if (int32_t code = plugin.start(host)) return failed(fmt::format("{} (code {})", host->last_error(host), code));
  } catch (...) {
    return failed("an exception came out of start()");
  }
  return std::nullopt;
}

// All that this process has loaded, by real path.
std::map<fs::path, LoadedPlugin>& loaded_plugins() {
  static std::map<fs::path, LoadedPlugin> all;
  return all;
}

}  // namespace

fs::path engine_library() {
  std::error_code ec;
  if (fs::path self = fs::canonical(boost::dll::this_line_location(), ec); !ec && self.filename() == engine_name) return self;
  // bin/t2i, which reads descriptors alone. Of a program the loader knows no path, only how it was called.
  const fs::path program = fs::canonical("/proc/self/exe", ec);
  return ec ? fs::path() : (program.parent_path() / ".." / "lib" / engine_name).lexically_normal();
}

std::optional<Error> plugin_permission_problem(const fs::path& file) {
  std::set<uid_t> trusted{0, ::geteuid()};
  struct stat st {};
  if (::stat(engine_library().c_str(), &st) == 0) trusted.insert(st.st_uid);  // who owns the core can run code anyway
  std::error_code ec;
  fs::path real = fs::canonical(file, ec);
  if (ec) return std::nullopt;
  if (auto problem = permission_problem(real.parent_path(), trusted)) return problem;
  return permission_problem(real, trusted);
}

Result<const t2i_plugin*> open_plugin(const fs::path& real, const t2i_host& host) {
  if (auto problem = plugin_permission_problem(real)) return *problem;
  Result<PluginTag> tag = read_plugin_tag(real);
  if (!tag) return tag.error();
  if (auto problem = tag_problem(real, *tag, host)) return *problem;
  Result<const t2i_plugin*> opened = open_library(real);
  if (!opened) return opened.error();
  if (!*opened) return refusal(real, T2I_ENTRY_NAME "() gave no descriptor", "Ask its author to repair it.", "E2059");
  if (auto problems = descriptor_problems(**opened, *tag); !problems.empty()) {
    bool function =
        std::any_of(problems.begin(), problems.end(), [](auto& p) { return p.find("lacks the function") != p.npos; });
    return refusal(real, fmt::format("plugin '{}' is broken: {}", tag->id, fmt::join(problems, "; ")),
                   "Ask its author to repair it; `t2i plugins check` shows all.", function ? "E2060" : "E2059");
  }
  return *opened;
}

std::vector<Component> components_of(const t2i_plugin& plugin, const fs::path& real) {
  std::vector<Component> all;
  for (auto c = plugin.components; *c; ++c) {
    std::istringstream classes(T2I_HAS(*c, opens) ? (*c)->opens : "");
    all.push_back({(*c)->kind, (*c)->id, (*c)->doc, nlohmann::json::parse((*c)->config_schema), (*c)->impl,
                   {std::istream_iterator<std::string>(classes), {}}, plugin.id, plugin.version, real.string()});
  }
  return all;
}

Result<LoadedPlugin> load_plugin(const fs::path& file, const t2i_host* host) {
  std::error_code ec;
  fs::path real = fs::canonical(file, ec);
  if (ec) return refusal(file, "there is no such plugin library", "Check the path.", "E2052", Exit::missing);
  if (auto it = loaded_plugins().find(real); it != loaded_plugins().end()) return it->second;
  Result<const t2i_plugin*> opened = open_plugin(real, *host);
  if (!opened) return opened.error();
  const t2i_plugin* plugin = *opened;
  if (auto problem = start(real, *plugin, host)) return *problem;
  return loaded_plugins().emplace(real, LoadedPlugin{plugin, components_of(*plugin, real), real}).first->second;
}

}  // namespace t2i
