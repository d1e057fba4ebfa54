// Checks the options of a task, a loss or another component against the schema that its plugin brings.
//
// The schema is a JSON object: option name → {"type": "number", "default": 5, "minimum": 0, "maximum": …,
// "exclusiveMinimum": …, "exclusiveMaximum": …, "enum": […], "description": "…"}. Types: "integer", "number",
// "boolean", "string", "array", "object". An option without "default" must be given; a default of null permits null.
#pragma once
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/base/error.h"

namespace t2i {

struct OptionsCheck {
  nlohmann::json options;  // as given, with the defaults filled in
  std::vector<Error> errors;
};

// `prefix` is the key the options live under ("loss"); `component` says whose they are ("loss 'mine'"); `positions` is
// Config::positions. All problems are collected; a schema that is itself wrong is one of them (E1012).
OptionsCheck check_options(const nlohmann::json& options, const nlohmann::json& schema, const std::string& prefix,
                           const std::string& component, const std::map<std::string, std::string>& positions);

// Problems of a schema itself, each a sentence; empty when it is sound. For `plugins check`.
std::vector<std::string> schema_problems(const nlohmann::json& schema);

}  // namespace t2i
