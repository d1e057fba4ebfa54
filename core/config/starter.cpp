#include "core/config/starter.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/config/knob.h"

namespace t2i {
namespace {

constexpr size_t width = 100;

// A sentence as comment lines that people need not scroll for.
std::string comment(const std::string& indent, const std::string& text) {
  std::string out, line;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    if (!line.empty() && indent.size() + 3 + line.size() + word.size() > width) out += indent + "# " + line + "\n", line.clear();
    line += (line.empty() ? "" : " ") + word;
    at = end + 1;
  }
  return line.empty() ? out : out + indent + "# " + line + "\n";
}

std::string component_text(const Config& config, const Knob& knob, const StarterText& text) {
  const ComponentConfig& chosen = chosen_component(const_cast<Config&>(config), knob.key);
  auto declared = text.options.find(knob.key);
  const nlohmann::json schema = declared == text.options.end() ? nlohmann::json::object() : declared->second;
  const bool others = text.every_key && schema.size() > chosen.options.size();
  const std::string name = chosen.name.empty() ? "null" : yaml_flow(chosen.name);
  if (chosen.options.empty() && !others) return fmt::format("{}: {}\n", knob.key, name);
  std::string out = knob.key + ":\n";
  if (!chosen.name.empty()) out += fmt::format("  name: {}\n", name);
  for (const auto& [option, value] : chosen.options.items()) {
    if (auto said = schema.find(option); said != schema.end()) out += comment("  ", said->value("description", ""));
    out += fmt::format("  {}: {}\n", yaml_flow(option), yaml_flow(value));
  }
  for (const auto& [option, about] : schema.items())
    if (others && !chosen.options.contains(option))
      out += comment("  ", about.value("description", "")) + fmt::format("  # {}: {}\n", option, yaml_flow(about.value("default", nlohmann::json())));
  return out;
}

}  // namespace

std::string write_starter(const Config& config, const StarterText& text) {
  std::string out, open;
  for (const std::string& line : text.head) out += line.empty() ? "#\n" : "# " + line + "\n";
  auto is_chosen = [&](const Knob& knob) {
    if (config.positions.count(knob.key)) return true;
    return knob.type == KnobType::component && !chosen_component(const_cast<Config&>(config), knob.key).options.empty();
  };
  for (const Knob& knob : knobs()) {
    const bool chosen = is_chosen(knob);
    if (!chosen && !text.every_key) continue;
    const std::string section = section_of(knob.key), indent = section.empty() ? "" : "  ";
    if (section.empty() || section != open) out += "\n";
    if (section != open && !section.empty())
      for (const KnobSection& known : knob_sections())
        if (known.name == section) out += comment("", known.doc) + section + ":\n";
    open = section;
    out += comment(indent, knob.doc);
    if (chosen && knob.type == KnobType::component) out += component_text(config, knob, text);
    else if (chosen) out += fmt::format("{}{}: {}\n", indent, leaf_of(knob.key), yaml_flow(knob.value(config)));
    else out += fmt::format("{}# {}: {}\n", indent, leaf_of(knob.key), knob_default(knob));
  }
  return out;
}

}  // namespace t2i
