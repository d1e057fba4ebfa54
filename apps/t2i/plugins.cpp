#include <fmt/format.h>

#include "apps/t2i/options.h"
#include "core/commands.h"

namespace t2i {

int plugins_command(const Command& self, const std::vector<std::string>& arguments) {
  Options options(self);
  options.positional("words", 2, {"list", "info", "check"})
      .add_list("plugin-path", "PATH", "a plugin library, or a folder of them, besides the built-in ones")
      .add("only", "RULE", "check: one group, group/name or rule alone")
      .add("model", "DIR", "check: a model folder of the plugin's family, to check its model on")
      .add("seed", "N", "check: of the random tensors")
      .add("json", "", "check: print one JSON object instead of lines")
      .add("in-process", "", "check: in this process, for a debugger; a crash then ends the program");
  const char* actions =
      "\nlist            every plugin found, with what it offers\n"
      "info ID         one plugin, with the options of its components\n"
      "check FILE.so   load it, call it, and report what breaks the contract\n";
  if (!options.parse(arguments, actions)) return 0;

  Texts words = options.texts("words");
  PluginsOptions out;
  out.action = words.empty() ? "" : words[0];
  out.subject = words.size() > 1 ? words[1] : "";
  out.plugin_paths = options.texts("plugin-path");
  out.only = options.text("only");
  out.model = options.text("model");
  out.seed = options.integer("seed", 0, int64_t{1} << 53).value_or(1);
  out.json = options.has("json"), out.in_process = options.has("in-process");
  if (out.action != "list" && out.action != "info" && out.action != "check") {
    auto near = nearest(out.action, {"list", "info", "check"});
    std::string what = out.action.empty() ? "what to do is missing" : fmt::format("unknown action '{}'", out.action);
    options.problem("t2i plugins", what,
                    near ? fmt::format("did you mean {}?", *near) : "list, info ID or check FILE.so", "E1023");
  } else if ((out.action == "list") != out.subject.empty()) {
    bool list = out.action == "list";
    options.problem("t2i plugins",
                    list ? "list takes no argument"
                         : fmt::format("{} needs {}", out.action, out.action == "info" ? "a plugin's id" : "a file"),
                    list                   ? "t2i plugins list"
                    : out.action == "info" ? "t2i plugins list shows the ids"
                                           : "t2i plugins check FILE.so",
                    "E1023");
  }
  options.finish();
  return call_engine("plugins", &out);
}

}  // namespace t2i
