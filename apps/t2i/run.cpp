#include <fmt/format.h>

#include "apps/t2i/options.h"
#include "core/commands.h"
#include "core/config/knob.h"

namespace t2i {
namespace {

// Every key with its default and sentence, as in the tables.
std::string knob_help() {
  std::string text = "\nKeys of CONFIG.yaml and --set (default in brackets):\n";
  std::string open = "\n";
  for (const Knob& knob : knobs()) {
    if (std::string section = section_of(knob.key); section != open) {
      open = section;
      for (const KnobSection& known : knob_sections())
        if (known.name == open && !open.empty()) text += fmt::format("\n{}: {}\n", known.name, known.doc);
      if (open.empty()) text += "\n";
    }
    std::string choices = knob.choices.empty() ? "" : fmt::format(" One of {}.", fmt::join(knob.choices, ", "));
    text += fmt::format("  {} [{}]\n      {}{}\n", knob.key, knob_default(knob), knob.doc, choices);
  }
  return text;
}

}  // namespace

int run_command(const Command& self, const std::vector<std::string>& arguments) {
  Options options(self);
  options.positional("config", 1)
      .add("plugin", "F", "the model family's plugin (else as the model folder says)")
      .add("task", "T", "what the model is taught to follow")
      .add("loss", "L", "the training objective")
      .add("model", "DIR", "the model to start from")
      .add("data", "DIR", "the training data")
      .add("output", "DIR", "the run's folder; an interrupted run goes on from what is there")
      .add_list("set", "KEY=VALUE", "set any key of the configuration, as train.seed=7; may be repeated")
      .add_list("allow-change", "KEY", "go on with an interrupted run although this key was changed")
      .add("steal-lock", "", "take an output folder that a run on another host did not release")
      .add_list("plugin-path", "PATH", "a plugin library, or a folder of them, besides the built-in ones");
  if (!options.parse(arguments, knob_help())) return 0;
  std::vector<Setting> settings = options.settings({{"plugin", "plugin"},
                                                    {"task", "task"},
                                                    {"loss", "loss"},
                                                    {"model", "model.path"},
                                                    {"data", "data.path"},
                                                    {"output", "output"}});
  options.finish();

  RunOptions run;
  Texts file = options.texts("config");
  run.config = load_config(file.empty() ? std::nullopt : std::optional(file[0]), settings);
  if (auto missing = missing_for_run(run.config); !missing.empty()) throw Failure(missing);
  run.allow_change = options.texts("allow-change");
  run.plugin_paths = options.texts("plugin-path");
  run.steal_lock = options.has("steal-lock");
  return call_engine("run", &run);
}

}  // namespace t2i
