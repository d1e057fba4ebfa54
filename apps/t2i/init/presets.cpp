#include "apps/t2i/init/presets.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <boost/dll/runtime_symbol_info.hpp>
#include <charconv>
#include <cstdlib>
#include <map>
#include <sstream>

#include "core/base/error.h"
#include "core/base/file.h"

namespace t2i {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t limit_bytes = 1 << 20;

fs::path shared_folder() {
  return fs::path(boost::dll::program_location().parent_path().string()) / ".." / "share" / "t2i" / "presets";
}

std::string trimmed_comment(const std::string& line) {
  size_t from = line.find_first_not_of("# ");
  size_t to = line.find_last_not_of(" \r");
  return from == std::string::npos ? "" : line.substr(from, to - from + 1);
}

Preset read_preset(const fs::path& path) {
  Preset preset;
  preset.name = path.stem().string(), preset.path = path.string();
  preset.text = read_file(path, limit_bytes).take();
  std::istringstream lines(preset.text);
  for (std::string line; std::getline(lines, line) && line.starts_with('#');) {
    const std::string said = trimmed_comment(line);
    if (said.starts_with("yaml-language-server:") || said.empty()) continue;
    if (said.starts_with("processes: ")) std::from_chars(said.data() + 11, said.data() + said.size(), preset.processes);
    else if (said.starts_with("memory: ")) preset.memory = said.substr(8);
    else if (preset.doc.empty()) preset.doc = said;
    else preset.notes.push_back(said);
  }
  return preset;
}

}  // namespace

std::vector<Preset> installed_presets() {
  std::vector<fs::path> folders = {shared_folder()};
  if (const char* home = std::getenv("HOME"); home && *home) folders.push_back(fs::path(home) / ".t2i" / "presets");
  std::map<std::string, Preset> by_name;
  for (const fs::path& folder : folders) {
    std::error_code ec;
    for (fs::directory_iterator at(folder, ec), end; !ec && at != end; at.increment(ec))
      if (at->path().extension() == ".yaml") by_name[at->path().stem().string()] = read_preset(at->path());
  }
  std::vector<Preset> all;
  for (auto& [name, preset] : by_name) all.push_back(std::move(preset));
  return all;
}

Preset find_preset(const std::string& name) {
  if (name.find('/') != std::string::npos || name.ends_with(".yaml")) return read_preset(name);
  std::vector<std::string> names;
  for (Preset& preset : installed_presets()) {
    if (preset.name == name) return std::move(preset);
    names.push_back(preset.name);
  }
  auto near = nearest(name, names);
  std::string there = names.empty() ? "none are installed; build or install t2i again" : fmt::format("there are {}", fmt::join(names, ", "));
  fail({"--preset", fmt::format("there is no preset '{}'", name), near ? fmt::format("Did you mean '{}'?", *near) : "",
        near ? "t2i init --list shows all" : there, "E8040", Exit::usage});
}

fs::path shared_file(const std::string& name) {
  std::error_code ec;
  fs::path path = shared_folder() / name;
  return fs::exists(path, ec) ? path : fs::path();
}

}  // namespace t2i
