#include "core/generate/parameters_text.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace t2i {

namespace {

// The names that readers of this form know.
std::string title(const std::string& sampler) {
  static const std::pair<const char*, const char*> titles[] = {
      {"ddim", "DDIM"},       {"ddpm", "DDPM"},         {"pndm", "PLMS"},
      {"euler", "Euler"},     {"euler_a", "Euler a"},   {"flow_euler", "Euler"},
      {"dpm++2m", "DPM++ 2M"}, {"dpm++2m_karras", "DPM++ 2M Karras"}};
  for (auto [name, text] : titles)
    if (sampler == name) return text;
  return sampler;
}

std::string quoted(const std::string& value) {
  if (value.find_first_of(",:\n") == std::string::npos) return value;
  return nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string parameters_text(const PictureParameters& p) {
  std::string text = p.prompt;
  if (!p.negative.empty()) text += "\nNegative prompt: " + p.negative;
  text += fmt::format("\nSteps: {}, Sampler: {}", p.steps, quoted(title(p.sampler)));
  if (p.guidance) text += fmt::format(", CFG scale: {}", *p.guidance);
  if (p.image_guidance) text += fmt::format(", Image CFG scale: {}", *p.image_guidance);
  return text + fmt::format(", Seed: {}, Size: {}x{}, Model: {}", p.seed, p.width, p.height, quoted(p.model));
}

}  // namespace t2i
