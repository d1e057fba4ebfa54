// The configuration that somebody begins with: what was chosen, each key under its sentence, to be read and edited.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "core/config/config.h"

namespace t2i {

struct StarterText {
  std::vector<std::string> head;                        // comment lines above everything, without '#'
  std::map<std::string, nlohmann::json> options;        // "task" → what the chosen component declares (schema_check.h)
  bool every_key = false;                               // what was not chosen too, commented out with its default
};

// Chosen is what Config::positions has. load_config_text() of the text gives `config` again.
std::string write_starter(const Config& config, const StarterText& text);

}  // namespace t2i
