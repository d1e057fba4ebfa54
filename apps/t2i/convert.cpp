#include "apps/t2i/options.h"
#include "core/commands.h"

namespace t2i {

int convert_command(const Command& self, const std::vector<std::string>& arguments) {
  Options options(self);
  options.positional("paths", 2)
      .add("to", "LAYOUT", "triplets, image_txt, kohya, imagefolder, parquet or webdataset")
      .add("task", "T", "write the columns of this task alone, under its names (else all that the data has)")
      .add("name", "NAME", "kohya: the folders' name behind the number (else the data's own, or DST's)")
      .add("link", "", "hard links to the pictures in place of copies, where DST is on the same disk")
      .add("once", "", "write a row once, however often it repeats")
      .add_list("set", "KEY=VALUE", "set a key of the configuration, as data.on_error=skip; may be repeated")
      .add_list("plugin-path", "PATH", "a plugin library, or a folder of them, besides the built-in ones");
  if (!options.parse(arguments, "\nSRC is what t2i run takes as data.path. DST must not be there; it appears when it is complete.\n")) return 0;
  ConvertOptions out;
  const Texts given = options.texts("paths");
  if (given.size() < 2) options.problem("t2i convert", given.empty() ? "SRC and DST are missing" : "DST is missing", "t2i convert my_data my_data_parquet --to parquet", "E1023");
  options.require("to");
  out.to = options.choice("to", {"triplets", "image_txt", "kohya", "imagefolder", "parquet", "webdataset"}, "");
  out.name = options.text("name");
  if (out.name.find('/') != std::string::npos) options.problem("--name", "'" + out.name + "' has a slash", "give a plain name");
  if (!out.name.empty() && out.to != "kohya") options.problem("--name", "only folders of kohya's layout have a name", "leave it out");
  out.link = options.has("link"), out.once = options.has("once");
  if (out.link && (out.to == "parquet" || out.to == "webdataset")) options.problem("--link", "pictures lie within the files of " + out.to, "leave it out");
  std::vector<Setting> settings = options.settings({{"task", "task"}});
  options.finish();
  settings.insert(settings.begin(), Setting{"data.path", given[0], "SRC"});
  out.config = load_config(std::nullopt, settings);
  out.output = given[1];
  while (out.output.size() > 1 && out.output.ends_with('/')) out.output.pop_back();
  out.plugin_paths = options.texts("plugin-path");
  return call_engine("convert", &out);
}

}  // namespace t2i
