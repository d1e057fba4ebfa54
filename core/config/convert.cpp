#include "core/config/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace t2i {
namespace {

bool digits_only(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string unsigned_part(const std::string& text) {
  return !text.empty() && (text[0] == '-' || text[0] == '+') ? text.substr(1) : text;
}

bool octal_look(const std::string& text) {
  std::string digits = unsigned_part(text);
  return digits.size() > 1 && digits[0] == '0' && digits_only(digits);
}

std::string without_zeros(const std::string& text) {
  std::string digits = unsigned_part(text);
  size_t first = std::min(digits.find_first_not_of('0'), digits.size() - 1);
  return (text[0] == '-' ? "-" : "") + digits.substr(first);
}

std::string octal_problem(const std::string& text) {
  return fmt::format("is {} to some readers of YAML and octal to others; write {}", without_zeros(text),
                     without_zeros(text));
}

bool read_integer(const std::string& text, int64_t& out) {
  if (!digits_only(unsigned_part(text))) return false;
  const char* first = text.data() + (text[0] == '+' ? 1 : 0);
  auto [end, error] = std::from_chars(first, text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

bool read_number(const std::string& text, double& out) {
  if (text.find_first_not_of("+-0123456789.eE") != std::string::npos) return false;  // no inf, nan, hex
  const char* first = text.data() + (!text.empty() && text[0] == '+' ? 1 : 0);
  auto [end, error] = std::from_chars(first, text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(out);
}

std::string in_range(double value, const Knob& knob) {
  bool low = knob.above_minimum ? value > knob.minimum : value >= knob.minimum;
  bool high = knob.below_maximum ? value < knob.maximum : value <= knob.maximum;
  if (!low) return "is too small";
  return high ? "" : "is too large";
}

std::string known_choice(const std::string& text, const Knob& knob) {
  if (std::find(knob.choices.begin(), knob.choices.end(), text) != knob.choices.end()) return "";
  auto near = nearest(text, knob.choices);
  return near ? fmt::format("is not known; did you mean {}?", *near) : "is not known";
}

std::string expectation(const Knob& knob) {
  std::string example = knob.example;
  if (example.empty() && knob.type != KnobType::choice && knob.type != KnobType::boolean) {
    example = knob_default(knob);
    if (example == "null" && std::isfinite(knob.minimum)) example = fmt::format("{}", knob.minimum);
    if (knob.type == KnobType::map) example = "{input_image: before}";
    if (knob.type == KnobType::list && example == "[]") example = "[a, b]";
    if (example == "null" || example == "\"\"") example.clear();
  }
  return "Expected " + knob_expects(knob) + (example.empty() ? "" : ", e.g. " + example);
}

bool yes(const std::string& text) {
  return text == "true" || text == "True" || text == "TRUE" || text == "yes" || text == "on";
}
bool no(const std::string& text) {
  return text == "false" || text == "False" || text == "FALSE" || text == "no" || text == "off";
}

std::string scalar_problem(const YamlNode& node, const Knob& knob, nlohmann::json& value) {
  const std::string& text = node.text;
  int64_t whole = 0;
  double real = 0;
  switch (knob.type) {
    case KnobType::boolean:
      if (node.quoted || (!yes(text) && !no(text))) return "is neither true nor false";
      value = yes(text);
      return "";
    case KnobType::integer:
      if (octal_look(text)) return octal_problem(text);
      if (!read_integer(text, whole)) {
        if (digits_only(unsigned_part(text))) return text[0] == '-' ? "is too small" : "is too large";
        return "is not an integer";
      }
      value = whole;
      return in_range(static_cast<double>(whole), knob);
    case KnobType::number:
      if (octal_look(text)) return octal_problem(text);
      if (!read_number(text, real)) return "is not a number";
      value = real;
      return in_range(real, knob);
    case KnobType::choice:
      value = text;
      return known_choice(text, knob);
    case KnobType::text:
    case KnobType::component:
      value = text;
      return text.empty() && !knob.nullable && knob.type == KnobType::component ? "is empty" : "";
    case KnobType::list:
      value = nlohmann::json::array({text});
      return knob.choices.empty() ? "" : known_choice(text, knob);
    case KnobType::map:
      return "is not a map";
  }
  return "";
}

}  // namespace

Converted convert(const YamlNode& node, const Knob& knob) {
  Converted out;
  switch (node.kind) {
    case YamlNode::null:
      out.value = nullptr;
      if (!knob.nullable) out.problem = "may not be null";
      break;
    case YamlNode::scalar:
      out.problem = scalar_problem(node, knob, out.value);
      break;
    case YamlNode::list:
      out.value = nlohmann::json::array();
      if (knob.type != KnobType::list) out.problem = "may not be a list";
      for (const YamlNode& item : node.items) {
        if (!out.problem.empty()) break;
        out.value.push_back(item.text);
        if (item.kind != YamlNode::scalar) out.problem = "holds " + yaml_shown(item) + ", not a text";
        else if (!knob.choices.empty() && !known_choice(item.text, knob).empty())
          out.problem = fmt::format("holds {}, which {}", yaml_shown(item), known_choice(item.text, knob));
      }
      break;
    case YamlNode::map:
      out.value = nlohmann::json::object();
      if (knob.type != KnobType::map) out.problem = "may not be a map";
      for (const YamlNode::Entry& entry : node.entries) {
        if (!out.problem.empty()) break;
        out.value[entry.key] = entry.value.text;
        if (entry.value.kind != YamlNode::scalar)
          out.problem = fmt::format("has {} for {}, not a name", yaml_shown(entry.value), entry.key);
      }
      break;
  }
  if (!out.problem.empty()) out.expects = expectation(knob);
  return out;
}

Converted convert_free(const YamlNode& node) {
  Converted out;
  int64_t whole = 0;
  double real = 0;
  auto take = [&out](Converted part) {
    if (out.problem.empty()) out.problem = part.problem;
    return std::move(part.value);
  };
  if (node.kind == YamlNode::list) {
    out.value = nlohmann::json::array();
    for (const YamlNode& item : node.items) out.value.push_back(take(convert_free(item)));
  } else if (node.kind == YamlNode::map) {
    out.value = nlohmann::json::object();
    for (const YamlNode::Entry& entry : node.entries) out.value[entry.key] = take(convert_free(entry.value));
  } else if (node.kind == YamlNode::scalar) {
    out.value = node.text;
    if (node.quoted) return out;
    if (node.text == "true" || node.text == "false") out.value = node.text == "true";
    else if (octal_look(node.text)) out.problem = octal_problem(node.text);
    else if (read_integer(node.text, whole)) out.value = whole;
    else if (read_number(node.text, real)) out.value = real;
  }
  return out;
}

}  // namespace t2i
