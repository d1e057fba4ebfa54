#include "core/config/knob.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>

namespace t2i {

nlohmann::ordered_json Knob::value(const Config& config) const {
  nlohmann::ordered_json out = read(config);
  if (nullable && out.is_string() && out.get_ref<const std::string&>().empty()) return nullptr;
  return out;
}

Knob&& Knob::or_null() && {
  nullable = true;
  return std::move(*this);
}
Knob&& Knob::at_least(double low) && {
  minimum = low;
  return std::move(*this);
}
Knob&& Knob::above(double low) && {
  minimum = low, above_minimum = true;
  return std::move(*this);
}
Knob&& Knob::at_most(double high) && {
  maximum = high;
  return std::move(*this);
}
Knob&& Knob::below(double high) && {
  maximum = high, below_maximum = true;
  return std::move(*this);
}
Knob&& Knob::one_of(std::vector<std::string> names) && {
  choices = std::move(names);
  if (type == KnobType::text) type = KnobType::choice;
  return std::move(*this);
}
Knob&& Knob::read_by(std::vector<std::string> names) && {
  only_for = std::move(names);
  return std::move(*this);
}
Knob&& Knob::safe() && {
  safe_on_resume = true;
  return std::move(*this);
}
Knob&& Knob::such_as(std::string text) && {
  example = std::move(text);
  return std::move(*this);
}

const Knob* find_knob(const std::string& key) {
  static const std::unordered_map<std::string, const Knob*> index = [] {
    std::unordered_map<std::string, const Knob*> out;
    for (const Knob& knob : knobs()) out[knob.key] = &knob;
    return out;
  }();
  auto found = index.find(key);
  return found == index.end() ? nullptr : found->second;
}

std::string section_of(const std::string& key) {
  size_t dot = key.find('.');
  return dot == std::string::npos ? "" : key.substr(0, dot);
}

std::string leaf_of(const std::string& key) {
  size_t dot = key.find('.');
  return dot == std::string::npos ? key : key.substr(dot + 1);
}

const std::vector<std::string>& known_samplers() {
  static const std::vector<std::string> names = {"ddim",    "ddpm",    "pndm",           "euler",
                                                 "euler_a", "dpm++2m", "dpm++2m_karras", "flow_euler"};
  return names;
}

namespace {

std::string range_text(const Knob& knob) {
  bool low = std::isfinite(knob.minimum), high = std::isfinite(knob.maximum);
  bool whole = knob.type == KnobType::integer;
  auto number = [&](double x) { return whole ? fmt::format("{}", static_cast<int64_t>(x)) : fmt::format("{}", x); };
  if (high && knob.maximum >= 1e9) high = false;  // a limit that only stops nonsense is not worth reading
  std::string from = low ? (knob.above_minimum ? " above "
                            : high             ? " from "
                                               : " of at least ") +
                               number(knob.minimum)
                         : "";
  std::string to = !high ? ""
                         : (knob.below_maximum ? " to below "
                            : low              ? " to "
                                               : " of at most ") +
                               number(knob.maximum);
  if (knob.above_minimum && high) to = (knob.below_maximum ? " and below " : " and at most ") + number(knob.maximum);
  return from + to;
}

bool plain_in_yaml(const std::string& text) {
  if (text.empty() || text.size() > 200) return false;
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '/'; };
  if (!letter(text[0])) return false;
  for (char c : text)
    if (!letter(c) && !(c >= '0' && c <= '9') && c != '-' && c != '.' && c != '+') return false;
  static const std::vector<std::string> words = {"null", "true", "false", "yes", "no", "on",
                                                 "off",  "y",    "n",     "nan", "inf"};
  std::string lower = text;
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return std::find(words.begin(), words.end(), lower) == words.end();
}

}  // namespace

std::string knob_expects(const Knob& knob) {
  std::string out;
  switch (knob.type) {
    case KnobType::boolean:
      out = "true or false";
      break;
    case KnobType::integer:
      out = "a whole number" + range_text(knob);
      break;
    case KnobType::number:
      out = "a number" + range_text(knob);
      break;
    case KnobType::text:
      out = "a text";
      break;
    case KnobType::choice:
      out = fmt::format("one of {}", fmt::join(knob.choices, ", "));
      break;
    case KnobType::list:
      out = knob.choices.empty() ? "a list of texts" : fmt::format("a list out of {}", fmt::join(knob.choices, ", "));
      break;
    case KnobType::map:
      out = "a map of names";
      break;
    case KnobType::component:
      out = "a name, or a map with name and options";
      break;
  }
  return knob.nullable ? out + ", or null" : out;
}

std::string knob_default(const Knob& knob) { return yaml_flow(knob.value(Config())); }

std::string yaml_flow(const nlohmann::ordered_json& value) {
  std::string out;
  if (value.is_array()) {
    for (const auto& item : value) out += (out.empty() ? "" : ", ") + yaml_flow(item);
    return "[" + out + "]";
  }
  if (value.is_object()) {
    for (const auto& [key, item] : value.items())
      out += (out.empty() ? "" : ", ") + yaml_flow(key) + ": " + yaml_flow(item);
    return "{" + out + "}";
  }
  if (value.is_number_float()) {  // 1e-08 is a text to readers of YAML 1.1, 1.0e-08 a number to all
    out = value.dump();
    if (size_t e = out.find('e'); e != out.npos && out.find('.') == out.npos) out.insert(e, ".0");
    return out;
  }
  if (value.is_string() && plain_in_yaml(value.get_ref<const std::string&>())) return value.get<std::string>();
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace t2i
