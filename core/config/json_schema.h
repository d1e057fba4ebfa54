// The JSON Schema of config.yaml: completion, hover texts and errors in editors, and a check for programs.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace t2i {

// A component that the keys plugin, task or loss can choose, with the options it declares (schema_check.h).
struct KnownComponent {
  std::string key, name, doc;  // "task", "text", a sentence
  nlohmann::json options;
};

// Draft 2020-12, of words that older drafts have too, because editors know those best. What it refuses, load_config()
// refuses; it cannot see what two keys mean together, and knows no component that is not among `known`, unless it is
// chosen by its library's path. With none known any name goes.
nlohmann::ordered_json json_schema(const std::vector<KnownComponent>& known);

}  // namespace t2i
