// A Config as text: the commented config.yaml, its hash, the difference between two.
#include <fmt/format.h>

#include <cmath>

#include "core/base/hash.h"
#include "core/config/config.h"
#include "core/config/knob.h"

namespace t2i {
namespace {

// One number, one text: 5 and 5.0 are the same configuration.
nlohmann::json canonical(const nlohmann::json& value) {
  if (value.is_number_float()) {
    double x = value.get<double>();
    if (std::floor(x) == x && std::abs(x) < 9e15) return static_cast<int64_t>(x);
  }
  if (!value.is_structured()) return value;
  nlohmann::json out = value;
  for (auto& item : out) item = canonical(item);
  return out;
}

// Key → value for every knob, and for every option of a component ("loss.gamma").
std::map<std::string, nlohmann::json> flat(const Config& config) {
  std::map<std::string, nlohmann::json> out;
  for (const Knob& knob : knobs()) {
    if (knob.type != KnobType::component) {
      out[knob.key] = canonical(nlohmann::json(knob.value(config)));
      continue;
    }
    const ComponentConfig& component = chosen_component(const_cast<Config&>(config), knob.key);
    out[knob.key] = component.name;
    for (const auto& [option, value] : component.options.items()) out[knob.key + "." + option] = canonical(value);
  }
  return out;
}

std::string dump(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

nlohmann::ordered_json to_json(const Config& config) {
  nlohmann::ordered_json out;
  for (const Knob& knob : knobs()) {
    std::string section = section_of(knob.key);
    (section.empty() ? out[knob.key] : out[section][leaf_of(knob.key)]) = knob.value(config);
  }
  return out;
}

std::string write_config(const Config& config) {
  std::string out = "# Every setting of this run, the defaults written out.\n", open;
  for (const Knob& knob : knobs()) {
    std::string section = section_of(knob.key);
    if (section != open) {
      open = section;
      out += section.empty() ? "\n" : fmt::format("\n{}:\n", section);
    }
    std::string indent = section.empty() ? "" : "  ";
    std::string now = yaml_flow(knob.value(config)), standard = knob_default(knob);
    std::string changed = now == standard ? "" : fmt::format("  (default {})", standard);
    out += fmt::format("{}# {}{}\n{}{}: {}\n", indent, knob.doc, changed, indent, leaf_of(knob.key), now);
  }
  return out;
}

std::string config_hash(const Config& config) {
  std::string text;
  for (const auto& [key, value] : flat(config)) text += key + "=" + dump(value) + "\n";
  return xxh3_hex(as_bytes(text));
}

ConfigDiff diff_configs(const Config& before, const Config& after) {
  std::map<std::string, nlohmann::json> old_values = flat(before), new_values = flat(after);
  std::map<std::string, std::pair<std::string, std::string>> changed;
  for (const auto& [key, value] : old_values) {
    auto now = new_values.find(key);
    if (now == new_values.end()) changed[key] = {dump(value), "(not set)"};
    else if (now->second != value) changed[key] = {dump(value), dump(now->second)};
  }
  for (const auto& [key, value] : new_values)
    if (!old_values.count(key)) changed[key] = {"(not set)", dump(value)};
  ConfigDiff out;
  for (const auto& [key, values] : changed) {
    const Knob* knob = find_knob(key);
    (knob && knob->safe_on_resume ? out.safe : out.unsafe).push_back({key, values.first, values.second});
  }
  return out;
}

}  // namespace t2i
