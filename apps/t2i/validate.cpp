#include <algorithm>

#include "apps/t2i/options.h"
#include "core/commands.h"

namespace t2i {

int validate_command(const Command& self, const std::vector<std::string>& arguments) {
  Options options(self);
  options.positional("data", 1)
      .add("task", "T", "whose columns are looked for (else what the data itself has)")
      .add("model", "DIR", "a model, whose tokenizers count the captions' tokens")
      .add("plugin", "F", "the model family's plugin (else as the model folder says)")
      .add("decode", "", "decode every picture; else headers alone are read")
      .add("all", "", "list every problem, not the first ten of each kind")
      .add("json", "", "print one JSON object")
      .add_list("allow", "KIND", "a kind of problem that is none here, as duplicate or empty_caption; may be repeated")
      .add_list("set", "KEY=VALUE", "set a key of the configuration, as \"data.columns={text: caption}\"; may be repeated")
      .add_list("plugin-path", "PATH", "a plugin library, or a folder of them, besides the built-in ones");
  if (!options.parse(arguments,
                     "\nDATA is a folder, a .jsonl, .parquet, .arrow or .tar file, or a configuration whose data.path, task and model are meant.\n"
                     "The exit code is 65 where there is a problem, 0 where there is none.\n"))
    return 0;
  ValidateOptions out;
  const Texts given = options.texts("data");
  if (given.empty()) options.problem("t2i validate", "DATA is missing", "t2i validate my_data", "E1023");
  std::vector<Setting> settings = options.settings({{"task", "task"}, {"model", "model.path"}, {"plugin", "plugin"}});
  const Texts kinds = {"missing_file", "unreadable",    "outside",       "bad_json",     "wrong_type",   "missing_field", "wrong_column", "missing_caption", "not_utf8",
                       "damaged",      "not_a_picture", "too_large",     "size_mismatch", "empty_caption", "long_caption",  "duplicate",    "bad_table"};
  for (const std::string& kind : options.texts("allow")) {
    auto near = nearest(kind, kinds);
    if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end())
      options.problem("--allow", kind + " is no kind of problem", near ? "did you mean " + *near + "?" : "see the kinds that --json names");
    out.allow.push_back(kind);
  }
  options.finish();
  const bool is_config = given[0].ends_with(".yaml") || given[0].ends_with(".yml");
  if (!is_config) settings.insert(settings.begin(), Setting{"data.path", given[0], "DATA"});
  out.config = load_config(is_config ? std::optional(given[0]) : std::nullopt, settings);
  if (out.config.data.path.empty()) options.problem(given[0], "data.path is not set", "set it, or give the data itself");
  options.finish();
  out.decode = options.has("decode"), out.all = options.has("all"), out.json = options.has("json");
  out.plugin_paths = options.texts("plugin-path");
  return call_engine("validate", &out);
}

}  // namespace t2i
