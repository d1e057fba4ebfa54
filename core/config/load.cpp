// From YAML and settings to a checked Config. Nothing stops at the first problem.
#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "core/base/file.h"
#include "core/config/config.h"
#include "core/config/convert.h"
#include "core/config/knob.h"
#include "core/config/optimizer_check.h"
#include "core/config/rates.h"
#include "core/config/yaml_tree.h"

namespace t2i {
namespace {

constexpr size_t file_limit_bytes = 4 << 20;

struct Loader {
  Config config;
  std::vector<Error> errors;
  std::string name;    // the file, for positions
  std::string origin;  // of a setting; replaces the position in the file

  std::string at(int line, int column) const {
    return origin.empty() ? fmt::format("{}:{}:{}", name, line, column) : origin;
  }

  void note(std::string where, std::string what, std::string why, std::string todo, std::string id) {
    errors.push_back({std::move(where), std::move(what), std::move(why), std::move(todo), std::move(id), Exit::config});
  }
};

bool is_section(const std::string& key) {
  const auto& all = knob_sections();
  return !key.empty() && std::any_of(all.begin(), all.end(), [&](const KnobSection& s) { return s.name == key; });
}

// Are all words of `name` among those of `of`, as in max_steps and max_train_steps?
bool words_within(const std::string& name, const std::string& of) {
  for (size_t start = 0; start <= name.size();) {
    size_t end = std::min(name.find('_', start), name.size());
    if (("_" + of + "_").find("_" + name.substr(start, end - start) + "_") == std::string::npos) return false;
    start = end + 1;
  }
  return true;
}

// What other programs call a key of ours.
std::optional<std::string> known_elsewhere(const std::string& leaf) {
  static const std::map<std::string, std::string> keys = {
      {"unet_lr", "optimizer.transformer_lr"},           {"denoiser_lr", "optimizer.transformer_lr"},
      {"learning_rate_te", "optimizer.text_encoder_lr"}, {"learning_rate_te1", "optimizer.text_encoder_lr"},
      {"learning_rate_te2", "optimizer.text_encoder_2_lr"}, {"learning_rate_te3", "optimizer.text_encoder_3_lr"},
      {"train_text_encoder", "train.text_encoders"}};
  auto found = keys.find(leaf);
  return found == keys.end() ? std::nullopt : std::optional(found->second);
}

// A key that nobody knows: the same leaf elsewhere is likelier meant than a similar name here.
void unknown_key(Loader& load, const std::string& key, const std::string& where) {
  std::string leaf = leaf_of(key), section = section_of(key);
  std::vector<std::string> all, leaves, sections;
  for (const KnobSection& s : knob_sections())
    if (!s.name.empty()) sections.push_back(s.name);
  std::optional<std::string> hint = known_elsewhere(leaf);
  for (const Knob& knob : knobs()) {
    all.push_back(knob.key);
    leaves.push_back(leaf_of(knob.key));
    if (section_of(knob.key).empty()) sections.push_back(knob.key);
    if (!hint && leaf_of(knob.key) == leaf) hint = knob.key;
  }
  if (find_knob(key))
    return load.note(where, fmt::format("'{}' is written with a dot", key), "Dots are for --set",
                     fmt::format("write {}: {{{}: …}}", section, leaf), "E1001");
  auto by_words = [&](bool anywhere) {
    std::optional<std::string> best;  // most words in common, then the shortest
    std::ptrdiff_t most = 0;
    for (const std::string& k : all) {
      std::string other = leaf_of(k);
      bool shares = words_within(leaf, other) || words_within(other, leaf);
      if (!(anywhere || section_of(k) == section) || !shares || other == "name") continue;
      std::ptrdiff_t common = 1 + std::min(std::ranges::count(leaf, '_'), std::ranges::count(other, '_'));
      if (common > most || (common == most && k.size() < best->size())) best = k, most = common;
    }
    return best;
  };
  if (!hint && is_section(section)) hint = by_words(false);
  if (!hint && is_section(section)) {
    std::vector<std::string> here;
    for (const std::string& k : all)
      if (section_of(k) == section) here.push_back(leaf_of(k));
    if (auto near = nearest(leaf, here)) hint = section + "." + *near;
  }
  if (!hint && section.empty()) hint = nearest(leaf, sections);
  if (!hint && !section.empty() && !is_section(section))
    if (auto near = nearest(section, sections)) hint = find_knob(*near + "." + leaf) ? *near + "." + leaf : *near;
  if (!hint && section.empty()) hint = by_words(true);
  if (!hint)
    if (auto near = nearest(leaf, leaves))
      hint = all[static_cast<size_t>(std::find(leaves.begin(), leaves.end(), *near) - leaves.begin())];
  if (hint)
    load.note(where, fmt::format("unknown key '{}'", key), fmt::format("Did you mean '{}'?", *hint), "", "E1001");
  else
    load.note(where, fmt::format("unknown key '{}'", key), "", "remove it; 't2i run --help' lists every key", "E1001");
}

std::string shown(const std::string& key, const YamlNode& node) {
  return node.kind == YamlNode::scalar ? key + " = " + yaml_shown(node) : key;
}

void assign(Loader& load, const Knob& knob, const YamlNode& node) {
  std::string where = load.at(node.line, node.column);
  load.config.positions[knob.key] = where;
  Converted converted = convert(node, knob);
  if (!converted.problem.empty())
    return load.note(where, fmt::format("{} {}", shown(knob.key, node), converted.problem), converted.expects, "",
                     "E1003");
  knob.write(load.config, converted.value);
}

// Another component's options mean nothing to this one.
void choose(Loader& load, const std::string& key, const std::string& name) {
  ComponentConfig& chosen = chosen_component(load.config, key);
  if (chosen.name != name && !chosen.name.empty()) {
    chosen.options = nlohmann::json::object();
    std::erase_if(load.config.positions, [&](const auto& p) { return p.first.rfind(key + ".", 0) == 0; });
  }
  chosen.name = name;
}

void assign_option(Loader& load, const std::string& key, const std::string& option, const YamlNode& node) {
  std::string where = load.at(node.line, node.column);
  load.config.positions[key + "." + option] = where;
  Converted converted = convert_free(node);
  if (!converted.problem.empty())
    return load.note(where, fmt::format("{}.{} = {} {}", key, option, yaml_shown(node), converted.problem), "", "",
                     "E1003");
  chosen_component(load.config, key).options[option] = converted.value;
}

void assign_name(Loader& load, const Knob& knob, const YamlNode& node) {
  std::string where = load.at(node.line, node.column);
  bool text = node.kind == YamlNode::scalar && !node.text.empty();
  if (!text && node.kind != YamlNode::null)
    return load.note(where,
                     node.kind == YamlNode::scalar ? knob.key + " is empty"
                                                   : fmt::format("{} may not be {}", knob.key, yaml_shown(node)),
                     "Expected " + knob_expects(knob), "", "E1003");
  load.config.positions[knob.key] = where;
  choose(load, knob.key, node.text);
}

// task: name, or task: {name: …, option: …}
void assign_component(Loader& load, const Knob& knob, const YamlNode& node) {
  if (node.kind != YamlNode::map) return assign_name(load, knob, node);
  for (const YamlNode::Entry& entry : node.entries)
    if (entry.key == "name") assign_name(load, knob, entry.value);
  for (const YamlNode::Entry& entry : node.entries)
    if (entry.key != "name") assign_option(load, knob.key, entry.key, entry.value);
}

void assign_top(Loader& load, const std::string& key, const YamlNode& node, const std::string& key_where) {
  if (const Knob* knob = find_knob(key); knob && section_of(key).empty()) {
    if (knob->type == KnobType::component) assign_component(load, *knob, node);
    else assign(load, *knob, node);
    return;
  }
  if (!is_section(key)) return unknown_key(load, key, key_where);
  if (node.kind == YamlNode::null) return;  // a heading with nothing under it
  const Knob* named = find_knob(key + ".name");
  if (node.kind == YamlNode::scalar && named) return assign(load, *named, node);
  if (node.kind != YamlNode::map)
    return load.note(load.at(node.line, node.column),
                     node.kind == YamlNode::list ? key + " may not be a list"
                                                 : fmt::format("{} = {} is not a map", key, yaml_shown(node)),
                     fmt::format("Expected {}: {{key: value}}", key), "", "E1003");
  for (const YamlNode::Entry& entry : node.entries) {
    std::string full = key + "." + entry.key;
    if (const Knob* knob = find_knob(full)) assign(load, *knob, entry.value);
    else unknown_key(load, full, load.at(entry.line, entry.column));
  }
}

YamlNode plain_text(const std::string& text) {
  YamlNode node;
  node.kind = YamlNode::scalar, node.text = text, node.line = node.column = 1;
  return node;
}

// A value on the command line is YAML, but a text may be given as it is: --set output=runs/a:b, prompts with a colon.
std::optional<YamlNode> setting_value(Loader& load, const Setting& setting, const Knob* knob) {
  const std::string& text = setting.value;
  bool wants_text =
      knob && (knob->type == KnobType::text || knob->type == KnobType::choice || knob->type == KnobType::list);
  bool bracket = !text.empty() && (text[0] == '[' || text[0] == '"' || text[0] == '\'');
  bool null = text == "null" || text == "~";
  if (wants_text && !bracket && !null) {
    if (std::vector<Error> problems = text_problems(text, "value"); !problems.empty()) {
      problems[0].where = setting.origin;
      load.errors.push_back(std::move(problems[0]));
      return std::nullopt;
    }
    YamlNode node = plain_text(text);
    if (knob->nullable && text.empty()) node.kind = YamlNode::null;
    return node;
  }
  YamlText parsed = parse_yaml(text, "value");
  for (Error& error : parsed.errors) {
    error.where = setting.origin;
    load.errors.push_back(std::move(error));
  }
  if (!parsed.errors.empty()) return std::nullopt;
  return parsed.root;
}

void apply(Loader& load, const Setting& setting) {
  load.origin = setting.origin;
  std::string section = section_of(setting.key), leaf = leaf_of(setting.key);
  const Knob* knob = find_knob(setting.key);
  std::optional<YamlNode> value = setting_value(load, setting, knob);
  if (!value) return;
  if (knob && !section.empty()) return assign(load, *knob, *value);
  if (section.empty()) return assign_top(load, setting.key, *value, setting.origin);
  if (const Knob* owner = find_knob(section); owner && owner->type == KnobType::component) {
    if (leaf == "name") return assign_name(load, *owner, *value);
    return assign_option(load, section, leaf, *value);
  }
  // One entry of a map: data.columns.input_image
  size_t last = setting.key.rfind('.');
  const Knob* map = find_knob(setting.key.substr(0, last));
  if (map && map->type == KnobType::map) {
    if (value->kind != YamlNode::scalar)
      return load.note(setting.origin, fmt::format("{} may not be {}", setting.key, yaml_shown(*value)),
                       "Expected a name", "", "E1003");
    nlohmann::json entries = map->read(load.config);
    entries[setting.key.substr(last + 1)] = value->text;
    map->write(load.config, entries);
    load.config.positions[map->key] = setting.origin;
    return;
  }
  unknown_key(load, setting.key, setting.origin);
}

void check_lora(Loader& load, const std::function<std::string(const char*)>& where) {
  const LoraConfig& lora = load.config.lora;
  if (lora.rank) {
    if (!load.config.train.parameters.empty())
      load.note(where("train.parameters"), "train.parameters and lora.rank exclude each other", "With an adapter the weights are frozen",
                "name what is adapted in lora.targets, or leave lora out", "E1011");
    for (const char* key : {"lora.targets", "lora.formats"})
      if ((key == std::string("lora.targets") ? lora.targets : lora.formats).empty())
        load.note(where(key), fmt::format("{} is empty", key), "", "name one, or leave it out", "E1011");
    return;
  }
  for (const Knob& knob : knobs())
    if (section_of(knob.key) == "lora" && knob.value(load.config) != knob.value(Config()))
      return load.note(where(knob.key.c_str()), fmt::format("{} is set and lora.rank is not", knob.key), "Without a rank there is no adapter",
                       "set lora.rank, as 16, or leave lora out", "E1011");
}

// What no single knob can see.
void check_together(Loader& load) {
  const Config& c = load.config;
  auto where = [&](const char* key) {
    auto found = c.positions.find(key);
    return found == c.positions.end() ? std::string(key) : found->second;
  };
  size_t images = c.validation.images.size(), prompts = c.validation.prompts.size();
  if (images > 1 && images != prompts)
    load.note(where("validation.images"),
              fmt::format("validation.images has {} entries, validation.prompts {}", images, prompts), "",
              "give one image per prompt, or one for all", "E1011");
  if (c.train.activation_memory_gb && !c.train.gradient_checkpointing)
    load.note(where("train.activation_memory_gb"), "train.activation_memory_gb is set and train.gradient_checkpointing is false", "",
              "set train.gradient_checkpointing: true, or leave the budget out", "E1011");
  if (c.train.offload_activations && !c.train.gradient_checkpointing)
    load.note(where("train.offload_activations"), "train.offload_activations is true and train.gradient_checkpointing is false",
              "What waits in host memory is what recomputed blocks run on", "set train.gradient_checkpointing: true", "E1011");
  if (c.train.activation_memory_gb && c.train.checkpoint_every_n_blocks != 1)
    load.note(where("train.checkpoint_every_n_blocks"),
              "train.checkpoint_every_n_blocks and train.activation_memory_gb both choose which blocks are computed again", "",
              "set one of them", "E1011");
  if (c.optimizer.lr_scheduler == "polynomial" && leading_rate(c) <= 1e-7) {
    const char* key = c.optimizer.transformer_lr && !denoiser_is_frozen(c) ? "optimizer.transformer_lr" : "optimizer.learning_rate";
    load.note(where(key), fmt::format("{} = {} is not above 1e-7", key, leading_rate(c)),
              "The schedule polynomial ends there", "raise it, or take another optimizer.lr_scheduler", "E1011");
  }
  check_lora(load, where);
  for (Error& error : check_optimizer(c)) load.errors.push_back(std::move(error));
  for (Error& error : check_rates(c)) load.errors.push_back(std::move(error));
}

}  // namespace

ComponentConfig& chosen_component(Config& config, const std::string& key) {
  return key == "plugin" ? config.plugin : key == "task" ? config.task : config.loss;
}

Result<Setting> parse_setting(const std::string& text) {
  size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    return Error{"--set " + text, "there is no '=' in it", "", "write --set train.seed=7", "E1008", Exit::usage};
  std::string key = text.substr(0, equals);
  return Setting{key, text.substr(equals + 1), "--set " + key};
}

Config load_config_text(const std::string& text, const std::string& name, const std::vector<Setting>& settings) {
  Loader load;
  load.name = name;
  YamlText parsed = parse_yaml(text, name);
  load.errors = std::move(parsed.errors);
  if (parsed.root.kind == YamlNode::map) {
    for (const YamlNode::Entry& entry : parsed.root.entries)
      assign_top(load, entry.key, entry.value, load.at(entry.line, entry.column));
  } else if (parsed.root.kind != YamlNode::null) {
    load.note(load.at(parsed.root.line, parsed.root.column),
              fmt::format("the file holds {} instead of keys", yaml_shown(parsed.root)), "",
              "write key: value lines; 't2i run --help' lists the keys", "E1003");
  }
  for (const Setting& setting : settings) apply(load, setting);
  if (load.errors.empty()) check_together(load);
  if (!load.errors.empty()) throw Failure(std::move(load.errors));
  return std::move(load.config);
}

Config load_config(const std::optional<std::string>& yaml_path, const std::vector<Setting>& settings) {
  if (!yaml_path) return load_config_text("", "", settings);
  return load_config_text(read_file(*yaml_path, file_limit_bytes).take(), *yaml_path, settings);
}

std::vector<Error> missing_for_run(const Config& config) {
  std::vector<Error> out;
  auto need = [&](const std::string& value, const char* key, const char* option, const char* what) {
    if (value.empty())
      out.push_back({key, fmt::format("{} is not set", what), "", fmt::format("give {} or --set {}=…", option, key),
                     "E1007", Exit::config});
  };
  need(config.model.path, "model.path", "--model DIR", "the model to start from");
  need(config.data.path, "data.path", "--data DIR", "the training data");
  need(config.output, "output", "--output DIR", "the run's folder");
  for (Error& e : nothing_to_pack(config)) out.push_back(std::move(e));
  for (Error& e : nothing_to_swap(config)) out.push_back(std::move(e));
  return out;
}

std::vector<Error> nothing_to_pack(const Config& config) {
  const std::string key = "model.quantization", &asked = config.model.quantization;
  if (asked == "none" || config.lora.rank || !config.train.parameters.empty() || denoiser_is_frozen(config)) return {};
  auto at = config.positions.find(key);
  return {{at == config.positions.end() ? key : at->second, fmt::format("{} packs weights that are not trained, and every weight is trained", asked), "",
           "train an adapter beside them (lora.rank), say with train.parameters which weights are trained, or leave model.quantization out", "E7150", Exit::config}};
}

std::vector<Error> nothing_to_swap(const Config& config) {
  const std::string key = "train.blocks_to_swap";
  if (!config.train.blocks_to_swap || config.lora.rank || !config.train.parameters.empty() || denoiser_is_frozen(config)) return {};
  auto at = config.positions.find(key);
  return {{at == config.positions.end() ? key : at->second,
           fmt::format("{} = {} moves weights that are not trained, and every weight is trained", key, config.train.blocks_to_swap),
           "Trained weights stay on the device, their gradients and moments with them",
           "train an adapter beside them (lora.rank), say with train.parameters which weights are trained, or leave train.blocks_to_swap out", "E7300",
           Exit::config}};
}

}  // namespace t2i
