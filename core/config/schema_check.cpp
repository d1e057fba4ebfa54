#include "core/config/schema_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace t2i {
namespace {

using Json = nlohmann::json;

const std::vector<std::string> types = {"integer", "number", "boolean", "string", "array", "object"};
const std::vector<std::string> words = {
    "type", "default", "minimum",     "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "enum", "title",   "description", "items"};

bool has_type(const Json& value, const std::string& type) {
  if (type == "integer")
    return value.is_number_integer() ||
           (value.is_number_float() && std::floor(value.get<double>()) == value.get<double>() &&
            std::abs(value.get<double>()) < 9e15);
  if (type == "number") return value.is_number();
  if (type == "boolean") return value.is_boolean();
  if (type == "string") return value.is_string();
  if (type == "array") return value.is_array();
  return type == "object" && value.is_object();
}

// YAML's other words for truth arrive as text, because a plugin's types are not known when YAML is read.
Json settle(const Json& value, const std::string& type) {
  if (type == "boolean" && value.is_string()) {
    if (value == "yes" || value == "on" || value == "True" || value == "TRUE") return true;
    if (value == "no" || value == "off" || value == "False" || value == "FALSE") return false;
  }
  if (type == "integer" && value.is_number_float() && has_type(value, type))
    return static_cast<int64_t>(value.get<double>());
  return value;
}

std::string expects(const Json& option) {
  std::string type = option.value("type", "");
  std::string out = type == "integer"   ? "a whole number"
                    : type == "number"  ? "a number"
                    : type == "boolean" ? "true or false"
                    : type == "string"  ? "a text"
                    : type == "array"   ? "a list"
                    : type == "object"  ? "a map"
                                        : "a value";
  if (option.contains("enum")) {
    std::vector<std::string> names;
    for (const Json& choice : option["enum"])
      names.push_back(choice.is_string() ? choice.get<std::string>() : choice.dump());
    out = fmt::format("one of {}", fmt::join(names, ", "));
  }
  auto limit = [&](const char* word, const char* said) {
    if (option.contains(word)) out += fmt::format(" {} {}", said, option[word].dump());
  };
  limit("minimum", "of at least");
  limit("exclusiveMinimum", "above");
  limit("maximum", "up to");
  limit("exclusiveMaximum", "below");
  if (auto standard = option.find("default"); standard != option.end() && !standard->is_null())
    out += ", e.g. " + (standard->is_string() ? standard->get<std::string>() : standard->dump());
  return out;
}

std::string not_the_type(const std::string& type) {
  if (type == "integer") return "is not an integer";
  if (type == "number") return "is not a number";
  if (type == "boolean") return "is neither true nor false";
  if (type == "string") return "is not a text (quotes make it one)";
  return type == "array" ? "is not a list" : "is not a map";
}

std::string problem(const Json& value, const Json& option) {
  std::string type = option.value("type", "");
  if (value.is_null()) {
    bool allowed = option.contains("default") && option["default"].is_null();
    return allowed ? "" : "may not be null";
  }
  if (!type.empty() && !has_type(value, type)) return not_the_type(type);
  if (option.contains("enum") && std::find(option["enum"].begin(), option["enum"].end(), value) == option["enum"].end())
    return "is not known";
  if (!value.is_number()) return "";
  double x = value.get<double>();
  auto limit = [&](const char* word) {
    return option.contains(word) ? option[word].get<double>() : NAN;
  };  // NAN compares false
  if (x < limit("minimum") || x <= limit("exclusiveMinimum")) return "is too small";
  if (x > limit("maximum") || x >= limit("exclusiveMaximum")) return "is too large";
  return "";
}

}  // namespace

std::vector<std::string> schema_problems(const Json& schema) {
  if (!schema.is_object()) return {"the schema is not a JSON object"};
  std::vector<std::string> out;
  for (const auto& [name, option] : schema.items()) {
    if (name.empty() || name == "name" || name.find('.') != std::string::npos)
      out.push_back(fmt::format("'{}' cannot be an option's name", name));
    if (!option.is_object()) {
      out.push_back(fmt::format("'{}' is not an object with a type", name));
      continue;
    }
    size_t before = out.size();
    auto type = option.find("type");
    if (type == option.end() || !type->is_string() ||
        std::find(types.begin(), types.end(), type->get<std::string>()) == types.end())
      out.push_back(fmt::format("'{}' needs a type out of {}", name, fmt::join(types, ", ")));
    for (const char* word : {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
      if (option.contains(word) && !option[word].is_number())
        out.push_back(fmt::format("{} of '{}' is not a number", word, name));
    if (option.contains("enum") && (!option["enum"].is_array() || option["enum"].empty()))
      out.push_back(fmt::format("enum of '{}' is not a list of values", name));
    for (const auto& [word, value] : option.items())
      if (std::find(words.begin(), words.end(), word) == words.end())
        out.push_back(fmt::format("'{}' has the word '{}', which nothing reads", name, word));
    if (out.size() == before && option.contains("default"))
      if (std::string wrong = problem(option["default"], option); !wrong.empty())
        out.push_back(fmt::format("the default {} of '{}' {}", option["default"].dump(), name, wrong));
  }
  return out;
}

OptionsCheck check_options(const Json& options, const Json& schema, const std::string& prefix,
                           const std::string& component, const std::map<std::string, std::string>& positions) {
  OptionsCheck out;
  out.options = Json::object();
  auto where = [&](const std::string& key) {
    auto found = positions.find(key);
    if (found == positions.end()) found = positions.find(prefix);
    return found == positions.end() ? component : found->second;
  };
  auto note = [&](std::string at, std::string what, std::string why, std::string todo, std::string id) {
    out.errors.push_back(
        {std::move(at), std::move(what), std::move(why), std::move(todo), std::move(id), Exit::config});
  };
  for (const std::string& wrong : schema_problems(schema))
    note(component, "its plugin declares options wrongly: " + wrong, "", "tell the plugin's author", "E1012");
  if (!out.errors.empty()) return out;

  std::vector<std::string> known;
  for (const auto& [name, option] : schema.items()) known.push_back(name);
  if (!options.is_object() && !options.is_null()) {
    note(where(prefix), fmt::format("the options of {} are not a map", component), "", "write name: value", "E1015");
    return out;
  }
  for (const auto& [name, value] : options.items()) {
    if (schema.contains(name)) continue;
    auto near = nearest(name, known);
    std::string key = prefix + "." + name;
    std::string todo =
        known.empty() ? "remove it; there are no options" : fmt::format("its options are {}", fmt::join(known, ", "));
    note(where(key), fmt::format("{} has no option '{}'", component, name),
         near ? fmt::format("Did you mean '{}'?", *near) : "", near ? "" : todo, "E1014");
  }
  for (const auto& [name, option] : schema.items()) {
    std::string key = prefix + "." + name;
    auto given = options.find(name);
    if (given == options.end()) {
      if (option.contains("default")) out.options[name] = option["default"];
      else
        note(where(prefix), fmt::format("{} needs the option '{}'", component, name), option.value("description", ""),
             fmt::format("set {}: {}", key, expects(option)), "E1016");
      continue;
    }
    Json value = settle(*given, option["type"]);
    if (std::string wrong = problem(value, option); !wrong.empty())
      note(where(key), fmt::format("{} = {} {}", key, given->dump(), wrong), "Expected " + expects(option), "",
           "E1015");
    else out.options[name] = value;
  }
  return out;
}

}  // namespace t2i
