#include "core/config/json_schema.h"

#include <algorithm>
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

Json object_of(const char* key, Json value) {
  Json out = Json::object();
  out[key] = std::move(value);
  return out;
}

Json described(const std::string& text) { return text.empty() ? Json::object() : object_of("description", text); }

// A component's options as properties; they are in JSON Schema's words already, but for a default of null, which permits it.
Json option_properties(const nlohmann::json& options) {
  Json out = Json::object();
  for (const auto& [name, option] : options.items()) {
    Json property;
    if (option.contains("description")) property["description"] = option["description"];
    for (const auto& [word, value] : option.items())
      if (word != "description") property[word] = value;
    if (option.contains("default") && option["default"].is_null()) {
      property["type"] = Json::array({option.value("type", "string"), "null"});
      if (property.contains("enum")) property["enum"].push_back(nullptr);
    }
    out[name] = property;
  }
  return out;
}

Json required_of(const nlohmann::json& options) {
  Json names = Json::array({"name"});
  for (const auto& [name, option] : options.items())
    if (!option.contains("default")) names.push_back(name);
  return names;
}

// A name, or a map with name and the options of that component.
Json component_schema(const Knob& knob, const std::vector<KnownComponent>& known) {
  const Json library = {{"type", "string"}, {"pattern", "/|\\.so$"}, {"description", "A plugin's library, by its path."}};
  Json names = Json::array(), forms = Json::array({object_of("type", "null")});
  for (const KnownComponent& c : known)
    if (c.key == knob.key) names.push_back(Json{{"const", c.name}, {"description", c.doc}});
  Json out = described(knob.doc);
  if (names.empty()) {
    out["type"] = {"string", "object", "null"};
    out["properties"]["name"] = {{"type", {"string", "null"}}, {"description", "The component's name."}};
    out["default"] = nullptr;
    return out;
  }
  Json named = names;
  named.push_back(library);
  forms.push_back(object_of("anyOf", named));
  Json any_option = Json::object();  // of one that is not named here: the model's own choice, or a library
  for (const KnownComponent& c : known) {
    if (c.key != knob.key) continue;
    Json properties = option_properties(c.options);
    Json form = described(c.doc);
    form["type"] = "object";
    form["properties"]["name"] = {{"const", c.name}, {"description", c.doc}};
    for (const auto& [name, property] : properties.items()) form["properties"][name] = property, any_option[name] = property.value("description", "");
    form["required"] = required_of(c.options);
    form["additionalProperties"] = false;
    forms.push_back(std::move(form));
  }
  Json own = object_of("type", "object");
  own["properties"]["name"] = object_of("anyOf", Json::array({object_of("type", "null"), library}));
  for (const auto& [name, doc] : any_option.items()) own["properties"][name] = described(doc);
  forms.push_back(std::move(own));
  out["anyOf"] = std::move(forms);
  out["default"] = nullptr;
  return out;
}

Json schema_of(const Knob& knob, const std::vector<KnownComponent>& known) {
  if (knob.type == KnobType::component) return component_schema(knob, known);
  Json out = described(knob.doc);
  Json types = Json::array({base_type(knob.type)});
  if (knob.type == KnobType::list) types.push_back("string");  // one alone needs no brackets
  if (knob.nullable) types.push_back("null");
  out["type"] = types.size() == 1 ? types[0] : types;
  if (std::isfinite(knob.minimum)) out[knob.above_minimum ? "exclusiveMinimum" : "minimum"] = bound(knob, knob.minimum);
  if (std::isfinite(knob.maximum)) out[knob.below_maximum ? "exclusiveMaximum" : "maximum"] = bound(knob, knob.maximum);
  Json choices = knob.choices;
  if (knob.type == KnobType::list) {
    out["items"]["type"] = "string";
    if (!choices.empty()) {
      out["items"]["enum"] = choices;
      out["if"] = object_of("type", "string");
      out["then"] = object_of("enum", choices);
    }
  }
  if (knob.nullable && !choices.empty()) choices.push_back(nullptr);
  if (knob.type == KnobType::choice) out["enum"] = choices;
  if (knob.type == KnobType::map) out["additionalProperties"]["type"] = "string";
  out["default"] = knob.value(Config());
  if (!knob.example.empty() && (knob.type == KnobType::text)) out["examples"] = Json::array({knob.example});
  return out;
}

// A section whose `name` chooses among components of the core's own: the name alone, or a map in which what the others
// read stays as it was.
void add_owners(Json& section, const std::string& name_key) {
  const Knob& name = *find_knob(name_key);
  Json rules = Json::array({Json{{"if", object_of("type", "string")}, {"then", object_of("enum", name.choices)}}});
  for (const std::string& chosen : name.choices) {
    Json when = object_of("type", "object");
    when["properties"]["name"]["const"] = chosen;
    if (name.value(Config()) != Json(chosen)) when["required"] = Json::array({"name"});
    Json kept;
    for (const Knob& knob : knobs())
      if (section_of(knob.key) == section_of(name_key) && !knob.only_for.empty() && !std::ranges::count(knob.only_for, chosen))
        kept[leaf_of(knob.key)]["const"] = knob.value(Config());
    if (!kept.is_null()) rules.push_back(Json{{"if", when}, {"then", object_of("properties", kept)}});
  }
  section["allOf"] = rules;
}

}  // namespace

nlohmann::ordered_json json_schema() { return json_schema(std::vector<KnownComponent>()); }

nlohmann::ordered_json json_schema(const std::vector<KnownComponent>& known) {
  Json out;
  out["$schema"] = "https://json-schema.org/draft/2020-12/schema";
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
    properties[leaf_of(knob.key)] = schema_of(knob, known);
  }
  for (const KnobSection& section : knob_sections())
    if (find_knob(section.name + ".name")) add_owners(out["properties"][section.name], section.name + ".name");
  return out;
}

}  // namespace t2i
