#include "apps/t2i/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <sstream>

#include "core/config/knob.h"

namespace po = boost::program_options;

namespace t2i {
namespace {
constexpr unsigned width = 112, description_width = 84;

Declared* asked_for = nullptr;  // where parse() leaves the declarations instead of parsing

std::string usage(const Command& command) {
  return *command.arguments ? fmt::format("t2i {} {}", command.name, command.arguments)
                            : fmt::format("t2i {}", command.name);
}

// "--train_batch_size" or "--train-batch-size", as other trainers have it: the key that means the same here.
std::string key_of_option(const std::string& option) {
  std::string leaf = option.substr(std::min(option.find_first_not_of('-'), option.size()));
  std::replace(leaf.begin(), leaf.end(), '-', '_');
  for (const Knob& knob : knobs())
    if (leaf_of(knob.key) == leaf || knob.key == leaf) return knob.key;
  return "";
}
}  // namespace

Options::Options(const Command& command) : command_(command), table_("options", width, description_width) {
  table_.add_options()("help,h", "print this");
  names_.push_back("--help");
}

Declared declared_by(const Command& command) {
  Declared out;
  asked_for = &out;
  command.run(command, {});
  asked_for = nullptr;
  return out;
}

void Options::declare(const char* name, const char* value, const char* doc, Texts choices) {
  std::string text = name;
  const size_t comma = text.find(',');
  if (comma != std::string::npos) names_.push_back("-" + text.substr(comma + 1));
  names_.push_back("--" + text.substr(0, comma));
  declared_.options.push_back({text.substr(0, comma), value, doc, std::move(choices)});
}

Options& Options::add(const char* name, const char* value, const char* doc, Texts choices) {
  declare(name, value, doc, std::move(choices));
  if (*value == 0) table_.add_options()(name, doc);
  else table_.add_options()(name, po::value<std::string>()->value_name(value), doc);
  return *this;
}

Options& Options::add_list(const char* name, const char* value, const char* doc) {
  declare(name, value, doc);
  table_.add_options()(name, po::value<Texts>()->composing()->value_name(value), doc);
  return *this;
}

Options& Options::add_words(const char* name, const char* value, const char* doc) {
  declare(name, value, doc);
  table_.add_options()(name, po::value<Texts>()->composing()->multitoken()->value_name(value), doc);
  return *this;
}

Options& Options::positional(const char* name, int most, Texts choices) {
  declared_.positional = {name, "", "", std::move(choices)};
  hidden_.add_options()(name, po::value<Texts>(), "");
  positional_.add(name, most);
  return *this;
}

void Options::help(const std::string& more) const {
  std::ostringstream table;
  table << table_;
  std::string text = fmt::format("{}\n{}.\n\n{}{}", usage(command_), command_.doc, table.str(), more);
  std::fwrite(text.data(), 1, text.size(), stdout);
}

bool Options::parse(const std::vector<std::string>& arguments, const std::string& more) {
  if (asked_for) return *asked_for = declared_, false;
  // Abbreviated names would change their meaning when an option is added.
  int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
  po::options_description all;
  all.add(table_).add(hidden_);
  std::string see = fmt::format("see t2i {} --help", command_.name);
  std::string where = fmt::format("t2i {}", command_.name);
  try {
    // First with room for any number of arguments, so that an unknown option is named and not its value.
    po::options_description loose;
    loose.add(table_).add_options()("argument", po::value<Texts>(), "");
    po::positional_options_description any;
    any.add("argument", -1);
    auto scan =
        po::command_line_parser(arguments).options(loose).positional(any).style(style).allow_unregistered().run();
    for (const auto& option : scan.options) {
      if (!option.unregistered) continue;
      std::string given = option.original_tokens.empty() ? option.string_key : option.original_tokens[0];
      given = given.substr(0, given.find('='));
      auto near = nearest(given, names_);
      if (std::string key = key_of_option(given); !key.empty() && table_.find_nothrow("set", false))
        problem(where, "unknown option " + given, fmt::format("write --set {}=…", key), "E1021");
      else problem(where, "unknown option " + given, near ? fmt::format("did you mean {}?", *near) : see, "E1021");
    }
    finish();
    auto parsed = po::command_line_parser(arguments).options(all).positional(positional_).style(style).run();
    po::store(parsed, values_);
    po::notify(values_);
  } catch (const po::too_many_positional_options_error&) {
    problem(where, "there is one argument too many", usage(command_), "E1023");
  } catch (const po::multiple_occurrences& e) {
    problem(where, fmt::format("{} is given twice", e.get_option_name()), "give it once", "E1022");
  } catch (const po::invalid_command_line_syntax& e) {
    bool missing = e.kind() == po::invalid_syntax::missing_parameter;
    problem(where, missing ? fmt::format("{} needs a value", e.get_option_name()) : std::string(e.what()), see,
            "E1022");
  } catch (const po::error& e) {
    problem(where, e.what(), see, "E1022");
  }
  if (has("help")) {
    help(more);
    return false;
  }
  finish();
  return true;
}

std::string Options::text(const char* name, const std::string& standard) const {
  return has(name) ? values_[name].as<std::string>() : standard;
}

Texts Options::texts(const char* name) const { return has(name) ? values_[name].as<Texts>() : Texts{}; }

std::optional<int64_t> Options::integer(const char* name, int64_t low, int64_t high) {
  if (!has(name)) return std::nullopt;
  std::string given = text(name);
  int64_t value = 0;
  auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), value);
  bool whole = error == std::errc() && end == given.data() + given.size();
  if (whole && value >= low && value <= high) return value;
  problem(fmt::format("--{}", name), fmt::format("{} is not a whole number from {} to {}", given, low, high),
          fmt::format("--{} {}", name, std::max<int64_t>(low, 1)));
  return std::nullopt;
}

std::optional<double> Options::number(const char* name, double low, double high) {
  if (!has(name)) return std::nullopt;
  std::string given = text(name);
  double value = 0;
  auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), value);
  bool read = error == std::errc() && end == given.data() + given.size() && std::isfinite(value);
  if (read && value >= low && value <= high) return value;
  problem(fmt::format("--{}", name), fmt::format("{} is not a number from {} to {}", given, low, high),
          fmt::format("--{} {}", name, std::max(low, 1.0)));
  return std::nullopt;
}

std::string Options::choice(const char* name, const Texts& choices, const std::string& standard) {
  std::string given = text(name, standard);
  if (!has(name) || std::find(choices.begin(), choices.end(), given) != choices.end()) return given;
  auto near = nearest(given, choices);
  problem(fmt::format("--{}", name), fmt::format("{} is not known", given),
          near ? fmt::format("did you mean {}?", *near) : fmt::format("one of {}", fmt::join(choices, ", ")));
  return standard;
}

void Options::require(const char* name) {
  if (!has(name))
    problem(fmt::format("t2i {}", command_.name), fmt::format("--{} is missing", name),
            fmt::format("see t2i {} --help", command_.name), "E1023");
}

void Options::problem(const std::string& where, const std::string& what, const std::string& todo, const char* id) {
  problems_.push_back({where, what, "", todo, id, Exit::usage});
}

void Options::finish() const {
  if (!problems_.empty()) throw Failure(problems_);
}

// A colon that no number follows belongs to the file.
static LoraFile parse_lora(const std::string& text) {
  const size_t colon = text.rfind(':');
  double scale = 1;
  if (colon != std::string::npos && colon > 0) {
    auto [end, error] = std::from_chars(text.data() + colon + 1, text.data() + text.size(), scale);
    if (error == std::errc() && end == text.data() + text.size() && std::isfinite(scale)) return {text.substr(0, colon), scale};
  }
  return {text, 1};
}

std::vector<LoraFile> Options::loras() const {
  std::vector<LoraFile> out;
  for (const std::string& text : texts("lora")) out.push_back(parse_lora(text));
  return out;
}

std::vector<Setting> Options::settings(const std::vector<Stands>& named) {
  std::vector<Setting> out;
  for (const Stands& pair : named)
    if (has(pair.option)) out.push_back({pair.key, text(pair.option), std::string("--") + pair.option});
  for (const std::string& given : texts("set")) {
    Result<Setting> setting = parse_setting(given);
    if (setting) out.push_back(*setting);
    else problems_.push_back(setting.error());
  }
  return out;
}

}  // namespace t2i
