// Finds, checks and loads plugin libraries, and gives out their components by kind and name.
//
// Lazy: making a Registry touches nothing; the first question lists the search folders and reads tags (no code runs); a
// library is loaded when a component it may hold is asked for. Loaded libraries stay until the process ends: autograd
// nodes and deleters point into them. All of this is for the main thread.
//
// Every refusal is one sentence that names the file: permissions (E2057), platform (E2053), tag (E2054), ABI (E2055),
// LibTorch (E2056), loading (E2058), descriptor (E2059), a missing function (E2060), a name taken twice (E2061),
// start() (E2062). library.cpp loads, descriptor.cpp checks what was loaded, registry.cpp finds.
#pragma once
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/plug/tag.h"
#include "t2i/plugin.h"

namespace t2i {

// What a plugin offers under one name. `impl` is a t2i_model, t2i_task, t2i_loss or t2i_dataset, by kind, with every required
// function present; it lives as long as the process.
struct Component {
  std::string kind, id, doc;
  nlohmann::json schema;  // its options, in the form of schema_check.h
  const void* impl = nullptr;
  std::vector<std::string> opens;  // a model's pipeline classes, a dataset's endings of files; empty: not said
  std::string plugin_id, version, path;
};

// Where plugins are looked for, in order: `extra` (--plugin-path: libraries, or folders of them), $T2I_PLUGIN_PATH
// (separated by ':'), t2i/ beside the engine library, ~/.t2i/plugins. Folders that are not there are left out, except
// those of `extra`: Failure E2050.
std::vector<std::filesystem::path> plugin_search_path(const std::vector<std::string>& extra);

// The file this code is in: lib/libt2i_engine.so. Empty when that cannot be told.
std::filesystem::path engine_library();

// Why this library must not be loaded by this user, or nothing: the file and its folder must belong to root, to the
// user or to the owner of the engine, and nobody else may write to them (E2057). Follows links first.
std::optional<Error> plugin_permission_problem(const std::filesystem::path& file);

// One loaded library. `plugin` and what it points to live as long as the process.
struct LoadedPlugin {
  const t2i_plugin* plugin = nullptr;
  std::vector<Component> components;
  std::filesystem::path path;  // real, absolute
};

// Permissions, tag, dlopen, descriptor, required functions; then start(host), once per process and file. A file that
// was loaded before in this process is given again.
Result<LoadedPlugin> load_plugin(const std::filesystem::path& file, const t2i_host* host);

// What is wrong with a descriptor, each a sentence; empty when it is sound. `tag` is what its file said.
std::vector<std::string> descriptor_problems(const t2i_plugin& plugin, const PluginTag& tag);

class Registry {
 public:
  // `search`: folders and libraries, first wins.
  Registry(std::vector<std::filesystem::path> search, const t2i_host* host);

  // The component of that kind ("model", "task", "loss", "dataset") and name; `id_or_path` may be a library's path ("./my.so"),
  // which then gives its only component of the kind. A library named t2i-ID.so is asked first, then the others in
  // search order. References stay valid as long as the registry. Failure: E2051 with the nearest name and all that are
  // there, E2052 for a path, or why the library was refused.
  const Component& find(const std::string& kind, const std::string& id_or_path);

  // All components of all libraries, loading every one; sorted by kind and name.
  std::vector<Component> list();

  // Libraries, or single components, that were seen and not taken so far, with the reason.
  const std::vector<Error>& refused() const { return refused_; }

 private:
  struct Candidate {
    std::filesystem::path path;
    bool tried = false;
  };
  void scan();
  void load(Candidate& candidate);  // a refusal goes to refused_
  const Component& add(const std::filesystem::path& file, const std::string& kind);
  const Component* known(const std::string& kind, const std::string& id) const;

  std::vector<std::filesystem::path> search_;
  const t2i_host* host_;
  bool scanned_ = false;
  std::vector<Candidate> candidates_;
  std::map<std::pair<std::string, std::string>, Component> components_;  // by kind and id
  std::vector<Error> refused_;
};

}  // namespace t2i
