#include "core/plug/trial.h"

#include "core/plug/check/child.h"

namespace t2i {
namespace {

namespace fs = std::filesystem;

constexpr int trial_seconds = 20;  // loading takes milliseconds

bool is_built_in(const fs::path& file) {
  std::error_code ec;
  return fs::equivalent(file.parent_path(), built_in_plugins(), ec) && !ec;
}

}  // namespace

fs::path built_in_plugins() { return engine_library().parent_path() / "t2i"; }

Result<LoadedPlugin> try_plugin(const fs::path& file, const t2i_host* host) {
  if (!is_built_in(file)) {
    // A refusal is left to the second time, which gives the sentence.
    Outcome trial = run_in_child([&] { return (void)load_plugin(file, host), Outcome{}; }, trial_seconds);
    if (trial.status == Outcome::fail)
      return Error{file.string(),
                   "this library was tried in a process of its own and cannot be loaded: " + trial.text,
                   "",
                   "Remove it, or ask its author to repair it; `t2i plugins check` shows all.",
                   "E2065",
                   Exit::failed};
  }
  return load_plugin(file, host);
}

}  // namespace t2i
