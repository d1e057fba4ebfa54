#include "apps/t2i/init/other_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "apps/t2i/init/presets.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/config/knob.h"
#include "core/config/yaml_tree.h"

namespace t2i {
namespace {

constexpr uint64_t limit_bytes = 4 << 20;

struct Given {
  std::string key, value, where;
};

// ---- a configuration file ----

std::string yaml_text(const YamlNode& node) {
  if (node.kind == YamlNode::null) return "null";
  if (node.kind == YamlNode::scalar) return node.text;
  std::string out;
  for (const YamlNode& item : node.items) out += (out.empty() ? "" : ", ") + yaml_flow(yaml_text(item));
  return "[" + out + "]";
}

void flatten(const YamlNode& node, const std::string& prefix, const std::string& path, std::vector<Given>& out) {
  for (const YamlNode::Entry& entry : node.entries) {
    const std::string key = prefix.empty() ? entry.key : prefix + "." + entry.key;
    if (entry.value.kind == YamlNode::map) flatten(entry.value, key, path, out);
    else out.push_back({key, yaml_text(entry.value), fmt::format("{}:{}:{}", path, entry.line, entry.column)});
  }
}

// ---- a command line ----

// Words as a shell cuts them, with $NAME and ${NAME} replaced by what the file set before.
struct ShellWord {
  std::string text;
  int line = 1;
};
std::vector<ShellWord> shell_words(const std::string& text) {
  std::vector<ShellWord> words;
  std::map<std::string, std::string> variables;
  std::string word;
  bool inside = false;
  char quote = 0;
  int line = 1;
  auto finish = [&] {
    if (!inside) return;
    const size_t equals = word.find('=');
    const bool name = equals != std::string::npos && equals > 0 &&
                      std::all_of(word.begin(), word.begin() + static_cast<std::ptrdiff_t>(equals), [](unsigned char c) { return std::isalnum(c) || c == '_'; });
    if (name) variables[word.substr(0, equals)] = word.substr(equals + 1);
    words.push_back({word, line});
    word.clear(), inside = false;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') ++line;
    if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
      if (text[++i] == '\n') ++line;
      else word += text[i], inside = true;
    } else if (c == '$' && quote != '\'') {
      const bool braces = i + 1 < text.size() && text[i + 1] == '{';
      size_t from = i + 1 + braces, to = from;
      while (to < text.size() && (std::isalnum(static_cast<unsigned char>(text[to])) || text[to] == '_')) ++to;
      word += variables[text.substr(from, to - from)], inside = true;
      i = to - 1 + (braces && to < text.size());
    } else if (quote) {
      if (c == quote) quote = 0;
      else word += c;
    } else if (c == '"' || c == '\'') {
      quote = c, inside = true;
    } else if (c == '#' && !inside) {
      while (i + 1 < text.size() && text[i + 1] != '\n') ++i;
    } else if (std::isspace(static_cast<unsigned char>(c))) {
      finish();
    } else {
      word += c, inside = true;
    }
  }
  finish();
  return words;
}

std::vector<Given> options_of(const std::vector<ShellWord>& words, const std::string& path) {
  std::vector<Given> out;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i].text;
    if (!word.starts_with("--") || word.size() == 2) continue;
    const size_t equals = word.find('=');
    Given given{word.substr(2, equals == std::string::npos ? equals : equals - 2), "true", fmt::format("{}:{}", path, words[i].line)};
    if (equals != std::string::npos) given.value = word.substr(equals + 1);
    else if (i + 1 < words.size() && !words[i + 1].text.starts_with("--")) given.value = words[i + 1].text;
    std::ranges::replace(given.key, '-', '_');
    out.push_back(std::move(given));
  }
  return out;
}

// ---- ours for theirs ----

class Translator {
 public:
  explicit Translator(const Json& table) : keys_(table.value("keys", Json::object())), programs_(table.value("programs", Json::object())) {}

  TakenOver out;

  void program(const std::string& word, const std::string& where) {
    for (const auto& [part, settings] : programs_.items())
      if (word.find(part) != std::string::npos) return give(settings, "", {word, "", where});
  }

  void take(const Given& given) {
    const std::string leaf = given.key.substr(given.key.rfind('.') + 1);
    if (find_knob(given.key)) return give_one(given.key, given.value, given);
    const Json row = keys_.contains(given.key) ? keys_[given.key] : keys_.value(leaf, Json());
    if (row.is_string()) return give_one(row.get<std::string>(), given.value, given);
    if (row.contains("left_out")) return note(given, row["left_out"].get<std::string>());
    if (row.contains("values")) {
      const Json& values = row["values"];
      if (values.contains(given.value)) return give(values[given.value], given.value, given);
      if (values.contains("*")) return give(values["*"], given.value, given);
      return note(given, fmt::format("{} is not known", yaml_flow(given.value)));
    }
    for (const Knob& knob : knobs())
      if (leaf_of(knob.key) == leaf && leaf != "name" && leaf != "path") return give_one(knob.key, given.value, given);
    note(given, "t2i has nothing of that name");
  }

 private:
  Json keys_, programs_;

  void note(const Given& given, const std::string& why) { out.notices.push_back(fmt::format("{}: {} is left out: {}", given.where, given.key, why)); }

  void give(const Json& settings, const std::string& value, const Given& given) {
    for (const auto& [key, text] : settings.items()) give_one(key, text == "*" ? value : text.get<std::string>(), given);
  }

  // Only what would be accepted by itself; what two keys mean together is said when all are there.
  void give_one(const std::string& key, const std::string& value, const Given& given) {
    Setting setting{key, value, fmt::format("{} ({})", given.where, given.key)};
    if (const Knob* knob = find_knob(key); knob && knob->type == KnobType::list && !value.starts_with('[')) setting.value = "[" + yaml_flow(value) + "]";
    try {
      load_config_text("", "", {setting});
    } catch (const Failure& f) {
      const Error& e = f.errors.front();
      if (e.id == "E1001" || e.id == "E1003") return note(given, e.what + (e.why.empty() ? "" : ". " + e.why));
    }
    out.settings.push_back(std::move(setting));
  }
};

bool is_command_line(const std::string& path, const std::string& text) {
  if (path.ends_with(".yaml") || path.ends_with(".yml") || path.ends_with(".json")) return false;
  return text.find("--") != std::string::npos;
}

}  // namespace

TakenOver take_over(const std::string& path) {
  const std::string text = read_file(path, limit_bytes).take();
  Json table = Json::object();
  if (auto file = shared_file("other-names.json"); !file.empty()) table = read_json(file.string()).take();
  Translator translator(table);
  if (is_command_line(path, text)) {
    const std::vector<ShellWord> words = shell_words(text);
    for (const ShellWord& word : words)
      if (!word.text.starts_with("-")) translator.program(word.text, fmt::format("{}:{}", path, word.line));
    for (const Given& given : options_of(words, path)) translator.take(given);
  } else {
    YamlText parsed = parse_yaml(text, path);
    if (!parsed.errors.empty()) throw Failure(std::move(parsed.errors));
    std::vector<Given> given;
    flatten(parsed.root, "", path, given);
    for (const Given& g : given) translator.take(g);
  }
  if (translator.out.settings.empty())
    fail({path, "holds nothing that t2i knows a name for", "", "give another trainer's configuration in YAML or JSON, or a file with its command line",
          "E8043", Exit::bad_data});
  return std::move(translator.out);
}

}  // namespace t2i
