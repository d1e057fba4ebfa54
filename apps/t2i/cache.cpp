#include <fmt/format.h>

#include <algorithm>

#include "apps/t2i/options.h"
#include "core/commands.h"

namespace t2i {
namespace {

const Texts actions = {"build", "list", "verify", "rm", "gc"};

// An option that only some of the actions have.
void only_for(Options& options, const char* name, const std::string& action, const Texts& has_it) {
  if (!options.has(name) || std::ranges::count(has_it, action)) return;
  options.problem(fmt::format("--{}", name), fmt::format("is no option of cache {}", action), "leave it out", "E1023");
}

}  // namespace

int cache_command(const Command& self, const std::vector<std::string>& arguments) {
  Options options(self);
  options.positional("words", 2)
      .add("plugin", "F", "the model family's plugin (else as the model folder says)")
      .add("task", "T", "what the model is taught to follow")
      .add("model", "DIR", "the model whose encoders make the entries")
      .add("data", "DIR", "the training data; the cache lies beside it")
      .add("cache", "DIR", "the cache's folder (else as data.cache_dir says)")
      .add_list("source", "PATTERN", "list, rm: entries of pictures, or texts of rows, so called (* is any text); may be repeated")
      .add_list("text", "PATTERN", "list, rm: entries of captions like this; may be repeated")
      .add_list("kind", "K", "list, rm: latents or text; may be repeated")
      .add_list("encoder", "DIGEST", "list, rm: entries that an encoder with this digest, or its beginning, has made; may be repeated")
      .add("all", "", "rm: everything")
      .add("rehash", "", "build: read every picture and all weights again, however much they look like before")
      .add("fix", "", "verify: take out what is damaged")
      .add("dry-run", "", "build, rm, gc: say what would be done and do nothing")
      .add("json", "", "list: an object per line")
      .add_list("set", "KEY=VALUE", "set any key of the configuration, as data.resolution=512; may be repeated")
      .add_list("plugin-path", "PATH", "a plugin library, or a folder of them, besides the built-in ones");
  const char* words_help =
      "\nbuild    encode what a run with this configuration needs and the cache lacks\n"
      "list     what is there\n"
      "verify   read all of it, and report what is not as it was written\n"
      "rm       take entries out, by --source, --text, --kind, --encoder, all that are given together, or --all\n"
      "gc       give the room of what was taken out back to the disk; with a model, of all that its run does not need\n";
  if (!options.parse(arguments, words_help)) return 0;

  Texts words = options.texts("words");
  CacheOptions out;
  out.action = words.empty() ? "" : words[0];
  if (std::ranges::count(actions, out.action) == 0) {
    auto near = nearest(out.action, actions);
    options.problem("t2i cache", out.action.empty() ? "what to do is missing" : fmt::format("unknown action '{}'", out.action),
                    near ? fmt::format("did you mean {}?", *near) : "build, list, verify, rm or gc", "E1023");
    options.finish();
  }
  std::vector<Setting> settings = options.settings({{"plugin", "plugin"}, {"task", "task"}, {"model", "model.path"}, {"data", "data.path"}});
  out.folder = options.text("cache");
  if (!out.folder.empty()) settings.push_back({"data.cache_dir", out.folder, "--cache"});
  out.sources = options.texts("source"), out.texts = options.texts("text"), out.encoders = options.texts("encoder");
  out.kinds = options.texts("kind");
  for (const std::string& kind : out.kinds)
    if (kind != "latents" && kind != "text") options.problem("--kind", fmt::format("'{}' is not known", kind), "latents or text");
  out.all = options.has("all"), out.rehash = options.has("rehash"), out.fix = options.has("fix");
  out.dry_run = options.has("dry-run"), out.json = options.has("json");
  for (const char* name : {"source", "text", "kind", "encoder"}) only_for(options, name, out.action, {"list", "rm"});
  only_for(options, "all", out.action, {"rm"});
  only_for(options, "rehash", out.action, {"build"});
  only_for(options, "fix", out.action, {"verify"});
  only_for(options, "dry-run", out.action, {"build", "rm", "gc"});
  only_for(options, "json", out.action, {"list"});
  const bool chosen = !out.sources.empty() || !out.texts.empty() || !out.kinds.empty() || !out.encoders.empty();
  if (out.action == "rm" && chosen == out.all)
    options.problem("t2i cache rm", chosen ? "--all and a choice exclude each other" : "does not say what is to go",
                    "give --source, --text, --kind or --encoder, or --all", "E1023");
  options.finish();

  out.config = load_config(words.size() > 1 ? std::optional(words[1]) : std::nullopt, settings);
  out.for_config = out.action == "build" || (out.action == "gc" && !out.config.model.path.empty());
  if (out.for_config) {
    std::vector<Error> missing = missing_for_run(out.config);
    std::erase_if(missing, [](const Error& e) { return e.where == "output"; });
    if (!missing.empty()) throw Failure(missing);
  } else if (out.config.data.path.empty() && out.config.data.cache_dir.empty()) {
    options.problem("t2i cache", "does not say which cache", "give --cache DIR, --data DIR or a configuration", "E1023");
    options.finish();
  }
  out.plugin_paths = options.texts("plugin-path");
  return call_engine("cache", &out);
}

}  // namespace t2i
