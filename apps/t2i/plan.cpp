#include "apps/t2i/options.h"
#include "core/base/number_text.h"
#include "core/commands.h"

namespace t2i {

int plan_command(const Command& self, const std::vector<std::string>& arguments) {
  Options options(self);
  options.positional("config", 1)
      .add("plugin", "F", "the model family's plugin (else as the model folder says)")
      .add("task", "T", "what the model is taught to follow")
      .add("loss", "L", "the training objective")
      .add("model", "DIR", "the model to start from")
      .add("data", "DIR", "the training data")
      .add("output", "DIR", "the run's folder: the disk it lies on is looked at")
      .add("memory", "SIZE", "memory to fit into, as 12GB (else what this machine or its GPU has)")
      .add("processes", "N", "processes of the run, one per GPU (1)")
      .add("json", "", "print one JSON object instead of a table")
      .add_list("set", "KEY=VALUE", "set any key of the configuration, as train.seed=7; may be repeated")
      .add_list("plugin-path", "PATH", "a plugin library, or a folder of them, besides the built-in ones");
  if (!options.parse(arguments)) return 0;
  std::vector<Setting> settings = options.settings({{"plugin", "plugin"},
                                                    {"task", "task"},
                                                    {"loss", "loss"},
                                                    {"model", "model.path"},
                                                    {"data", "data.path"},
                                                    {"output", "output"}});
  PlanOptions plan;
  if (options.has("memory")) {
    auto bytes = bytes_from_text(options.text("memory"));
    if (bytes) plan.memory_bytes = *bytes;
    else options.problem("--memory", "'" + options.text("memory") + "' is no size", "write it as 12GB, 900MB or 16GiB");
  }
  plan.processes = options.integer("processes", 1, 100000).value_or(1);
  plan.json = options.has("json");
  options.finish();

  Texts file = options.texts("config");
  plan.config = load_config(file.empty() ? std::nullopt : std::optional(file[0]), settings);
  std::vector<Error> missing = missing_for_run(plan.config);
  std::erase_if(missing, [](const Error& e) { return e.where == "output"; });
  if (!missing.empty()) throw Failure(missing);
  plan.plugin_paths = options.texts("plugin-path");
  return call_engine("plan", &plan);
}

}  // namespace t2i
