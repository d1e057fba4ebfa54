// bin/t2i: the table of commands, and the one place where failures are printed.
#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "apps/t2i/command.h"
#include "core/base/error.h"
#include "core/base/launcher_report.h"
#include "core/base/version.h"

namespace t2i {
namespace {

const Command table[] = {
    {"init", "[--preset NAME] [options]", "Write a configuration to begin with, from a preset or from answers", init_command},
    {"run", "[CONFIG.yaml] [options]", "Train, or go on with an interrupted run", run_command},
    {"generate", "--model DIR --prompt TEXT --output PATH [options]", "Make images with a model", generate_command},
    {"probe", "WHAT --model DIR --outputs OUT.safetensors [options]", "Run one piece of a model on tensors from a file",
     probe_command},
    {"export", "--model PATH --output PATH [options]", "Write a model in another form: a diffusers folder or a single file",
     export_command},
    {"plan", "[CONFIG.yaml] [options]", "Tell what a run will take and do, before it does it", plan_command},
    {"validate", "DATA [options]", "Find everything that is wrong with a data set, in one pass", validate_command},
    {"convert", "SRC DST --to LAYOUT [options]", "Write a data set in another layout, its pictures byte for byte", convert_command},
    {"cache", "build | list | verify | rm | gc [CONFIG.yaml] [options]", "Encode a run's pictures and captions once, and look after what is kept", cache_command},
    {"plugins", "list | info ID | check FILE.so", "Show what is installed, or check a plugin against its contract",
     plugins_command},
    {"report", "RUN [--output FILE.html]", "Show a run on one page: curves, pictures, settings", report_command},
    {"compare", "RUN RUN… | FOLDER FOLDER [--output FILE.html]", "Show runs, or two folders of pictures, beside each other", compare_command},
    {"doctor", "[options]", "Check this machine and say what to repair", doctor_command},
    {"schema", "[options]", "Print the JSON Schema of configuration files, for editors", schema_command},
    {"completion", "bash | zsh | fish", "Print a shell's script that completes commands, options and keys", completion_command},
};

std::string overview() {
  std::string text = "t2i fine-tunes and runs text-to-image diffusion models.\n\nt2i COMMAND [arguments]\n\n";
  for (const Command& command : table) text += fmt::format("  {:<10} {}\n", command.name, command.doc);
  return text + "\n  t2i COMMAND --help   all options of a command\n  t2i --version\n";
}

int dispatch(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    std::fputs(overview().c_str(), stderr);
    return static_cast<int>(Exit::usage);
  }
  const std::string& name = arguments[0];
  if (name == "--help" || name == "-h" || name == "help") return std::fputs(overview().c_str(), stdout), 0;
  if (name == "--version") return std::printf("t2i %s\n", version), 0;
  if (name == "__complete") return complete_words({arguments.begin() + 1, arguments.end()});
  std::vector<std::string> known;
  for (const Command& command : table) {
    if (name == command.name) return command.run(command, {arguments.begin() + 1, arguments.end()});
    known.push_back(command.name);
  }
  auto near = nearest(name, known);
  fail({"t2i", fmt::format("unknown command '{}'", name), near ? fmt::format("Did you mean '{}'?", *near) : "",
        "t2i --help lists the commands", "E1020", Exit::usage});
}

int guarded(const std::vector<std::string>& arguments) {
  auto print = [](const Error& error) { std::fprintf(stderr, "%s\n", to_string(error).c_str()); };
  try {
    return dispatch(arguments);
  } catch (const Failure& failure) {
    for (const Error& error : failure.errors) print(error);
    report_to_launcher(failure.what());
    return static_cast<int>(failure.exit());
  } catch (const std::bad_alloc&) {
    print({"t2i", "the machine is out of memory", "", "end other programs, or ask for less", "E4090", Exit::failed});
  } catch (const std::exception& e) {
    print({"t2i", "this is a bug in t2i", e.what(), "report it with the command you gave", "E1099", Exit::failed});
  } catch (...) {
    print({"t2i", "this is a bug in t2i", "", "report it with the command you gave", "E1099", Exit::failed});
  }
  return static_cast<int>(Exit::failed);
}

}  // namespace

std::span<const Command> commands() { return table; }

}  // namespace t2i

int main(int count, char** arguments) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file over `ulimit -f` is an error of write(), with a message, not the end
  return t2i::guarded({arguments + 1, arguments + count});
}
