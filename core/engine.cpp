// The engine's one entry: commands by name, failures as lines a person can act on, exit codes a scheduler can branch on.
#include <c10/util/Exception.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

#include "core/commands.h"
#include "core/dist/launch.h"
#include "core/generate.h"
#include "core/memory/host_allocator.h"
#include "core/plug/plugins_command.h"
#include "core/probe.h"
#include "core/run.h"

static t2i::Error out_of_memory(const std::string& text) {
  return {"",      "out of memory: " + text,
          "",      "lower train.train_batch_size or data.resolution, or set train.gradient_checkpointing: true",
          "E4001", t2i::Exit::failed};
}

extern "C" int t2i_engine_command(const char* command, const void* options) {
  using namespace t2i;
  std::string_view name = command;
  use_host_arena();
  auto say = [](const Error& e) { std::fprintf(stderr, "%s\n", to_string(e).c_str()); };
  try {
    if (name == "run") return run_command(*static_cast<const RunOptions*>(options));
    if (name == "generate") return generate_command(*static_cast<const GenerateOptions*>(options));
    if (name == "plugins") return plugins_command(*static_cast<const PluginsOptions*>(options));
    if (name == "probe") return probe_command(*static_cast<const ProbeOptions*>(options));
    say({"engine", "has no command '" + std::string(name) + "'", "bin/t2i and libt2i_engine.so are of different builds", "build both again", "E9002", Exit::failed});
    return static_cast<int>(Exit::failed);
  } catch (const Failure& f) {
    for (const Error& e : f.errors) say(e);
    report_to_launcher(f.what());
    return static_cast<int>(f.exit());
  } catch (const std::filesystem::filesystem_error& e) {
    report_to_launcher(e.what());
    say({e.path1().string(), e.code().message(), "",
         "check the disk and the permissions, then run the same command again", "E4102", Exit::io});
    return static_cast<int>(Exit::io);
  } catch (const c10::OutOfMemoryError& e) {
    report_to_launcher(e.what_without_backtrace());
    say(out_of_memory(e.what_without_backtrace()));
  } catch (const c10::Error& e) {
    std::string text = e.what_without_backtrace();
    if (text.find("DefaultCPUAllocator") != text.npos)
      return say(out_of_memory(text)), report_to_launcher(text), static_cast<int>(Exit::failed);
    report_to_launcher(e.what_without_backtrace());
    say({"", e.what_without_backtrace(), "this is a bug in t2i or in one of its plugins", "please report it with the command line", "E9001", Exit::failed});
  } catch (const std::exception& e) {
    report_to_launcher(e.what());
    say({"", e.what(), "this is a bug in t2i", "please report it with the command line", "E9001", Exit::failed});
  }
  return static_cast<int>(Exit::failed);
}
