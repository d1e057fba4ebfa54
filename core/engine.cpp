// The engine's one entry: commands by name, failures as lines a person can act on, exit codes a scheduler can branch
// on.
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

#include "core/commands.h"
#include "core/base/launcher_report.h"
#include "core/cache_command.h"
#include "core/curate/convert.h"
#include "core/curate/validate.h"
#include "core/doctor_probe.h"
#include "core/export.h"
#include "core/generate.h"
#include "core/memory/host_allocator.h"
#include "core/plan/plan_command.h"
#include "core/plug/host.h"
#include "core/plug/plugins_command.h"
#include "core/probe.h"
#include "core/run.h"

namespace t2i {

// What nobody below made a Failure of.
static Error unforeseen(const std::exception& e) {
  std::string text = text_of(e);
  if (is_out_of_memory(e))
    return {"t2i",   "out of memory: " + text,
            "",      "lower train.train_batch_size or data.resolution, or set train.gradient_checkpointing: true",
            "E4001", Exit::failed};
  if (auto file = dynamic_cast<const std::filesystem::filesystem_error*>(&e))
    return {file->path1().string(),
            file->code().message(),
            "",
            "check the disk and the permissions, then run the same command again",
            "E4102",
            Exit::io};
  return {
      "",      text,        "this is a bug in t2i or in one of its plugins", "please report it with the command line",
      "E9001", Exit::failed};
}

}  // namespace t2i

extern "C" int t2i_engine_command(const char* command, const void* options) {
  using namespace t2i;
  std::string_view name = command;
  use_host_arena();
  auto say = [](const Error& e) { std::fprintf(stderr, "%s\n", to_string(e).c_str()); };
  try {
    if (name == "run") return run_command(*static_cast<const RunOptions*>(options));
    if (name == "generate") return generate_command(*static_cast<const GenerateOptions*>(options));
    if (name == "export") return export_command(*static_cast<const ExportOptions*>(options));
    if (name == "plan") return plan_command(*static_cast<const PlanOptions*>(options));
    if (name == "doctor") return doctor_command(*static_cast<const DoctorOptions*>(options));
    if (name == "validate") return validate_command(*static_cast<const ValidateOptions*>(options));
    if (name == "convert") return convert_command(*static_cast<const ConvertOptions*>(options));
    if (name == "cache") return cache_command(*static_cast<const CacheOptions*>(options));
    if (name == "plugins") return plugins_command(*static_cast<const PluginsOptions*>(options));
    if (name == "probe") return probe_command(*static_cast<const ProbeOptions*>(options));
    say({"engine", "has no command '" + std::string(name) + "'", "bin/t2i and libt2i_engine.so are of different builds", "build both again", "E9002", Exit::failed});
    return static_cast<int>(Exit::failed);
  } catch (const Failure& f) {
    for (const Error& e : f.errors) say(e);
    report_to_launcher(f.what());
    return static_cast<int>(f.exit());
  } catch (const std::exception& e) {
    Error error = unforeseen(e);
    report_to_launcher(error.what);
    say(error);
    return static_cast<int>(error.exit);
  }
}
