// From a YAML value to the type that a knob wants; the knob decides, never the look of the text. So `no` is a text
// where texts are wanted, and `010`, which some readers of YAML take for 8, is refused where a number is wanted.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "core/config/knob.h"
#include "core/config/yaml_tree.h"

namespace t2i {

struct Converted {
  nlohmann::json value;
  std::string problem;  // "is not an integer"; empty when all is well
  std::string expects;  // "Expected a whole number from 1 to 64, e.g. 4"
};

Converted convert(const YamlNode& node, const Knob& knob);

// A component's option, whose type is not known here: null, true, false, decimal numbers, else text; lists and maps of
// these. `problem` names numbers that readers disagree about (010).
Converted convert_free(const YamlNode& node);

}  // namespace t2i
