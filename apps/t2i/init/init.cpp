// `t2i init`: preset, or answers, or what another trainer's file says → checked → a commented YAML with the schema beside it.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>

#include "apps/t2i/init/other_names.h"
#include "apps/t2i/init/presets.h"
#include "apps/t2i/init/questions.h"
#include "apps/t2i/options.h"
#include "apps/t2i/schema.h"
#include "core/base/file.h"
#include "core/config/schema_check.h"
#include "core/config/starter.h"

namespace t2i {
namespace {

namespace fs = std::filesystem;

constexpr const char* schema_name = "t2i.schema.json";

void list_presets() {
  for (const Preset& p : installed_presets()) fmt::print("{:<24} {}\n", printable(p.name), printable(p.doc));
}

Talk on_terminal() {
  return {[](const std::string& text) {
            const bool gap = text.starts_with('\n');
            std::cout << (gap ? "\n" : "") << printable(gap ? text.substr(1) : text) << "\n";
          },
          [](const std::string& question) -> std::optional<std::string> {
            std::cout << question << std::flush;
            std::string line;
            if (std::getline(std::cin, line)) return line;
            std::cout << "\n";
            return std::nullopt;
          }};
}

// Components that are not installed, and options that they do not have; the schemas of those that are.
std::map<std::string, nlohmann::json> checked_components(const Config& config, const Catalog& catalog) {
  std::vector<Error> errors;
  std::map<std::string, nlohmann::json> options;
  for (const char* kind : {"model", "task", "loss"}) {
    const std::string key = key_of_kind(kind);
    const ComponentConfig& chosen = key == "plugin" ? config.plugin : key == "task" ? config.task : config.loss;
    const bool library = chosen.name.find('/') != std::string::npos || chosen.name.ends_with(".so");
    if (chosen.name.empty() || library) continue;
    const Offer* offer = catalog.find(kind, chosen.name);
    if (!offer) {
      auto at = config.positions.find(key);
      auto near = nearest(chosen.name, catalog.ids(kind));
      errors.push_back({at == config.positions.end() ? key : at->second, fmt::format("there is no {} '{}' among the installed plugins", kind, chosen.name),
                        near ? fmt::format("Did you mean '{}'?", *near) : "", fmt::format("there are {}", fmt::join(catalog.ids(kind), ", ")), "E8045", Exit::config});
      continue;
    }
    options[key] = offer->options;
    OptionsCheck check = check_options(chosen.options, offer->options, key, fmt::format("{} '{}'", kind, chosen.name), config.positions);
    errors.insert(errors.end(), check.errors.begin(), check.errors.end());
  }
  if (!errors.empty()) throw Failure(std::move(errors));
  return options;
}

std::string launch_line(const Preset& preset, const std::string& file) {
  return preset.processes > 1 ? fmt::format("torchrun --standalone --nproc-per-node={} --no-python t2i run {}", preset.processes, file) : "t2i run " + file;
}

std::string plan_line(const Preset& preset, const std::string& file) {
  return fmt::format("t2i plan {}{}{}", file, preset.processes > 1 ? fmt::format(" --processes {}", preset.processes) : "",
                     preset.memory.empty() ? "" : " --memory " + preset.memory);
}

std::vector<std::string> head_of(const Preset& preset, const std::string& file, bool with_schema) {
  std::vector<std::string> head;
  if (with_schema) head.push_back(std::string("yaml-language-server: $schema=") + schema_name);
  if (!preset.doc.empty()) head.push_back(preset.doc);
  head.insert(head.end(), preset.notes.begin(), preset.notes.end());
  head.insert(head.end(), {"", fmt::format("  {:<76} what it will take", plan_line(preset, file)), fmt::format("  {:<76} train, or go on", launch_line(preset, file)),
                           "", "Every key with its default: t2i run --help"});
  return head;
}

void refuse_to_replace(const fs::path& file) {
  std::error_code ec;
  if (fs::exists(fs::symlink_status(file, ec)))
    fail({file.string(), "is there already", "It would be lost", "choose another --file, or give --force", "E8042", Exit::in_use});
}

// The schema goes beside the configuration, where editors look for it by a relative path. One that is there stays.
void write_schema(const fs::path& folder, const Catalog& catalog, bool force) {
  const fs::path path = folder / schema_name;
  const std::string text = schema_of(catalog).dump(2) + "\n";
  std::error_code ec;
  if (!force && fs::exists(path, ec)) {
    if (auto old = read_file(path); !old || *old != text) fmt::print(stderr, "notice: {} is of other plugins or another t2i; t2i schema > {} renews it\n", path.string(), path.string());
    return;
  }
  write_file(path, as_bytes(text));
}

}  // namespace

int init_command(const Command& self, const std::vector<std::string>& arguments) {
  Options options(self);
  options.add("preset", "NAME", "begin with this preset, or with a configuration file, by its path")
      .add("list", "", "list the presets")
      .add("from", "FILE", "take over another trainer's configuration (YAML, JSON), or a file with its command line")
      .add("plugin", "F", "the model family's plugin")
      .add("task", "T", "what the model is taught to follow")
      .add("loss", "L", "the training objective")
      .add("model", "DIR", "the model to start from")
      .add("data", "DIR", "the training data")
      .add_list("set", "KEY=VALUE", "set any key of the configuration, as train.seed=7; may be repeated")
      .add("file,o", "FILE", "what to write (the preset's name with .yaml); - is the standard output")
      .add("force", "", "write over a file that is there")
      .add("every-key", "", "write the keys that were not chosen too, as comments with their defaults")
      .add("no-schema", "", "leave out t2i.schema.json, which tells editors what keys there are")
      .add_list("plugin-path", "PATH", "a plugin library, or a folder of them, besides the built-in ones");
  if (!options.parse(arguments, "\nWithout --preset and --from it asks, on a terminal.\n")) return 0;
  if (options.has("list")) return list_presets(), 0;
  std::vector<Setting> settings =
      options.settings({{"plugin", "plugin"}, {"task", "task"}, {"loss", "loss"}, {"model", "model.path"}, {"data", "data.path"}});
  options.finish();

  const Catalog catalog = read_catalog(options.texts("plugin-path"));
  std::string file = options.text("file");
  if (!file.empty() && file != "-" && !options.has("force")) refuse_to_replace(file);
  Preset preset;
  if (options.has("preset")) preset = find_preset(options.text("preset"));
  if (options.has("from")) {
    TakenOver taken = take_over(options.text("from"));
    for (const std::string& notice : taken.notices) fmt::print(stderr, "notice: {}\n", printable(notice));
    settings.insert(settings.begin(), taken.settings.begin(), taken.settings.end());
  } else if (!options.has("preset")) {
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
      fail({"t2i init", "there is no terminal to ask questions on", "", "name a preset: t2i init --preset NAME; t2i init --list shows them", "E8041", Exit::usage});
    Answers answers = ask_questions(on_terminal(), catalog, installed_presets(), settings, file);
    if (answers.preset) preset = *answers.preset;
    settings.insert(settings.begin(), answers.settings.begin(), answers.settings.end());
    file = answers.file;
  }

  const Config config = load_config_text(preset.text, preset.path, settings);
  StarterText text;
  text.options = checked_components(config, catalog);
  text.every_key = options.has("every-key");
  if (file.empty()) file = preset.name.empty() ? "t2i.yaml" : preset.name + ".yaml";
  const bool to_output = file == "-", with_schema = !to_output && !options.has("no-schema");
  text.head = head_of(preset, to_output ? "FILE.yaml" : file, with_schema);
  const std::string written = write_starter(config, text);
  if (to_output) return std::fputs(written.c_str(), stdout), 0;

  if (!options.has("force")) refuse_to_replace(file);
  const fs::path folder = fs::path(file).parent_path();
  if (!folder.empty()) make_folders(folder);
  if (with_schema) write_schema(folder, catalog, options.has("force"));
  write_file(file, as_bytes(written));
  fmt::print("wrote {}\n\n  {}\n  {}\n", printable(file), printable(plan_line(preset, file)), printable(launch_line(preset, file)));
  return 0;
}

}  // namespace t2i
