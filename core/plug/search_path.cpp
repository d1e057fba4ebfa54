// Where plugin libraries are looked for, and which are there. No code of theirs runs.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "core/plug/descriptors.h"

namespace t2i {

namespace fs = std::filesystem;

std::vector<fs::path> plugin_search_path(const std::vector<std::string>& extra) {
  std::vector<fs::path> places;
  std::vector<Error> missing;
  for (const std::string& p : extra) {
    std::error_code ec;
    if (fs::exists(p, ec)) places.emplace_back(p);
    else
      missing.push_back(
          {p, "there is no such plugin library or folder", "", "Check --plugin-path.", "E2050", Exit::missing});
  }
  if (!missing.empty()) throw Failure(std::move(missing));
  auto add_folder = [&](const fs::path& folder) {
    std::error_code ec;
    if (!folder.empty() && fs::is_directory(folder, ec)) places.push_back(folder);
  };
  if (const char* list = ::secure_getenv("T2I_PLUGIN_PATH")) {  // not for a program with raised rights
    std::string text = list;
    for (size_t at = 0; at <= text.size();) {
      size_t end = std::min(text.find(':', at), text.size());
      add_folder(text.substr(at, end - at));
      at = end + 1;
    }
  }
  if (fs::path engine = engine_library(); !engine.empty()) add_folder(engine.parent_path() / "t2i");
  if (const char* home = ::secure_getenv("HOME"); home && *home) add_folder(fs::path(home) / ".t2i" / "plugins");
  return places;
}

std::vector<fs::path> find_plugins(const std::vector<fs::path>& search, std::vector<Error>& refused) {
  std::vector<fs::path> found;
  std::map<std::string, fs::path> ids;
  auto look_at = [&](const fs::path& file) {
    std::error_code ec;
    fs::path real = fs::canonical(file, ec);
    if (ec || std::ranges::count(found, real)) return;
    Result<PluginTag> tag = read_plugin_tag(real);
    if (!tag) {
      refused.push_back(tag.error());
      return;
    }
    auto [first, fresh] = ids.emplace(tag->id, real);
    if (fresh) found.push_back(real);
    else
      refused.push_back({real.string(), fmt::format("plugin '{}' was already found as {}", tag->id, first->second.string()), "",
                         "Remove one of the two files, or give the one you mean by its path.", "E2061", Exit::failed});
  };
  for (const fs::path& place : search) {
    std::error_code ec;
    if (!fs::is_directory(place, ec)) {
      look_at(place);
      continue;
    }
    std::vector<fs::path> files;
    for (fs::directory_iterator it(place, ec), end; !ec && it != end; it.increment(ec)) {
      std::string name = it->path().filename().string();
      if (name.starts_with("t2i-") && name.ends_with(".so")) files.push_back(it->path());
    }
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) look_at(file);
  }
  return found;
}

}  // namespace t2i
