// The JSON Schema (draft 7) of config.yaml, from the knob tables: completion and hover texts in editors.
#include <cmath>

#include "core/config/config.h"
#include "core/config/knob.h"

namespace t2i {
namespace {

using Json = nlohmann::ordered_json;

const char* base_type(KnobType type) {
  switch (type) {
    case KnobType::boolean:
      return "boolean";
    case KnobType::integer:
      return "integer";
    case KnobType::number:
      return "number";
    case KnobType::text:
    case KnobType::choice:
      return "string";
    case KnobType::list:
      return "array";
    case KnobType::map:
    case KnobType::component:
      return "object";
  }
  return "";
}

Json bound(const Knob& knob, double x) {
  return knob.type == KnobType::integer ? Json(static_cast<int64_t>(x)) : Json(x);
}

Json schema_of(const Knob& knob) {
  Json out;
  out["description"] = knob.doc;
  if (knob.type == KnobType::component) {
    out["type"] = {"string", "object", "null"};
    out["properties"]["name"] = {{"type", {"string", "null"}}, {"description", "The component's name."}};
    out["default"] = nullptr;
    return out;
  }
  if (knob.nullable) out["type"] = {base_type(knob.type), "null"};
  else out["type"] = base_type(knob.type);
  if (std::isfinite(knob.minimum)) out[knob.above_minimum ? "exclusiveMinimum" : "minimum"] = bound(knob, knob.minimum);
  if (std::isfinite(knob.maximum)) out[knob.below_maximum ? "exclusiveMaximum" : "maximum"] = bound(knob, knob.maximum);
  Json choices = knob.choices;
  if (knob.nullable && !choices.empty()) choices.push_back(nullptr);
  if (knob.type == KnobType::choice) out["enum"] = choices;
  if (knob.type == KnobType::list) {
    out["items"]["type"] = "string";
    if (!choices.empty()) out["items"]["enum"] = choices;
  }
  if (knob.type == KnobType::map) out["additionalProperties"]["type"] = "string";
  out["default"] = knob.value(Config());
  return out;
}

}  // namespace

nlohmann::ordered_json json_schema() {
  Json out;
  out["$schema"] = "http://json-schema.org/draft-07/schema#";
  out["title"] = "t2i run configuration";
  out["type"] = "object";
  out["additionalProperties"] = false;
  for (const KnobSection& section : knob_sections()) {
    if (section.name.empty()) continue;
    // A heading with nothing under it is null; a section with a name may be that name alone.
    Json& object = out["properties"][section.name];
    object["description"] = section.doc;
    object["type"] = {"object", "null"};
    if (find_knob(section.name + ".name")) object["type"].push_back("string");
    object["additionalProperties"] = false;
  }
  for (const Knob& knob : knobs()) {
    Json& properties =
        section_of(knob.key).empty() ? out["properties"] : out["properties"][section_of(knob.key)]["properties"];
    properties[leaf_of(knob.key)] = schema_of(knob);
  }
  return out;
}

}  // namespace t2i
