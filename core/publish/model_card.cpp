#include "core/publish/model_card.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <sstream>

#include "core/config/knob.h"

namespace t2i {
namespace {

// Characters that Markdown or HTML would take for their own.
std::string markdown(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '&') out += "&amp;";
    else if (c == '\n' || c == '\r') out += ' ';
    else {
      if (std::string_view("\\`*_{}[]()#+-!|~").find(c) != std::string_view::npos) out += '\\';
      out += c;
    }
  }
  return out;
}

std::string yaml(const std::string& text) { return yaml_flow(nlohmann::ordered_json(text)); }

// A bare word, or the text in quotes: "license: mit", "license: 'mit'".
std::string head_value(const std::string& line) {
  std::string value = line.substr(line.find(':') + 1);
  while (!value.empty() && (value.front() == ' ' || value.front() == '"' || value.front() == '\'')) value.erase(0, 1);
  while (!value.empty() && (value.back() == ' ' || value.back() == '"' || value.back() == '\'' || value.back() == '\r')) value.pop_back();
  return value;
}

std::string last_part(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return Path(path).filename().string();
}

}  // namespace

License license_of_card(const std::string& readme) {
  License out;
  std::istringstream lines(readme);
  std::string line;
  if (!std::getline(lines, line) || !line.starts_with("---")) return out;
  while (std::getline(lines, line) && !line.starts_with("---")) {
    if (line.starts_with("license:")) out.id = head_value(line);
    if (line.starts_with("license_name:")) out.name = head_value(line);
    if (line.starts_with("license_link:")) out.link = head_value(line);
  }
  return out;
}

Json settings_for_card(const Config& config) {
  static const std::vector<std::string> paths = {"model.path", "model.base", "model.vae", "model.text_encoder", "data.path", "lora.init_from", "validation.images", "output"};
  static const std::vector<std::string> sections = {"wandb", "hub", "checkpoint"};
  Json out = Json::object();
  for (const Knob& knob : knobs()) {
    if (std::ranges::count(sections, section_of(knob.key)) || knob.key == "output" || knob.key == "report_to") continue;
    nlohmann::ordered_json value = knob.value(config);
    if (yaml_flow(value) == knob_default(knob)) continue;
    if (std::ranges::count(paths, knob.key)) {
      if (value.is_string()) value = last_part(value);
      else if (value.is_array())
        for (auto& item : value) item = last_part(item);
    }
    out[knob.key] = yaml_flow(value);
  }
  return out;
}

std::string model_card(const CardFacts& f) {
  std::string out = "---\n";
  if (!f.license.empty()) out += fmt::format("license: {}\n", yaml(f.license));
  if (!f.license_name.empty()) out += fmt::format("license_name: {}\n", yaml(f.license_name));
  if (!f.license_link.empty()) out += fmt::format("license_link: {}\n", yaml(f.license_link));
  if (f.base_is_on_hub) out += fmt::format("base_model: {}\n", yaml(f.base_model));
  if (f.base_is_on_hub && f.adapter) out += "base_model_relation: adapter\n";
  else if (f.base_is_on_hub) out += "base_model_relation: finetune\n";
  out += "library_name: diffusers\n";
  out += fmt::format("pipeline_tag: {}\n", f.edits ? "image-to-image" : "text-to-image");
  out += "tags:\n- t2i\n- diffusers-training\n";
  if (f.adapter) out += "- lora\n";
  if (!f.prompts.empty()) {
    out += "widget:\n";
    for (size_t i = 0; i < f.prompts.size(); ++i) {
      out += fmt::format("- text: {}\n", Json(f.prompts[i]).dump(-1, ' ', false, Json::error_handler_t::replace));
      if (i < f.pictures.size()) out += fmt::format("  output:\n    url: {}\n", f.pictures[i]);
    }
  }
  out += "---\n\n";
  const std::string name = f.repo.substr(f.repo.find('/') + 1);
  out += fmt::format("# {}\n\n", markdown(name));
  const std::string base = f.base_is_on_hub ? fmt::format("[{0}](https://huggingface.co/{0})", f.base_model) : fmt::format("`{}`", f.base_model);
  out += f.adapter ? fmt::format("A low-rank adapter for {}, trained for {} steps with t2i {}.\n\n", base, f.steps, f.version)
                   : fmt::format("{} fine-tuned for {} steps with t2i {}.\n\n", base, f.steps, f.version);
  if (!f.pictures.empty()) {
    out += "<Gallery />\n\n## Pictures\n\n";
    for (size_t i = 0; i < std::min(f.prompts.size(), f.pictures.size()); ++i) out += fmt::format("![{0}]({1})\n\n{0}\n\n", markdown(f.prompts[i]), f.pictures[i]);
  } else if (!f.prompts.empty()) {
    out += "## Prompts\n\n";
    for (const std::string& prompt : f.prompts) out += fmt::format("- {}\n", markdown(prompt));
    out += "\n";
  }
  out += "## Use\n\n```python\n";
  if (f.adapter)
    out += fmt::format("from diffusers import DiffusionPipeline\n\npipeline = DiffusionPipeline.from_pretrained({})\npipeline.load_lora_weights({})\n", Json(f.base_model).dump(), Json(f.repo).dump());
  else out += fmt::format("from diffusers import DiffusionPipeline\n\npipeline = DiffusionPipeline.from_pretrained({})\n", Json(f.repo).dump());
  out += "```\n\n## Training\n\nWhat was set; everything else was t2i's default.\n\n```yaml\n";
  for (const auto& [key, value] : f.settings.items()) {
    std::string text = value.get<std::string>();
    for (size_t at = 0; (at = text.find("```", at)) != text.npos; at += 3) text.replace(at, 3, "'''");
    out += fmt::format("{}: {}\n", key, text);
  }
  out += "```\n\n## Licence\n\n";
  if (f.license.empty()) out += "The licence of the base model applies; its card did not say which, and none was given.\n";
  else out += fmt::format("{}{}\n", markdown(f.license_name.empty() ? f.license : f.license_name), f.license_link.empty() ? "" : fmt::format(" ({})", f.license_link));
  return out;
}

}  // namespace t2i
