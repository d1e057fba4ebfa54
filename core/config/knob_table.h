// What the tables of knobs are written with: a row names a field of a struct in config.h, and reading, writing, type and
// default follow from it.
#pragma once
#include <type_traits>

#include "core/config/knob.h"

namespace t2i {

template <class T>
constexpr bool is_optional = std::is_same_v<T, std::optional<int64_t>> || std::is_same_v<T, std::optional<double>>;

template <class T>
constexpr KnobType type_of() {
  if constexpr (std::is_same_v<T, bool>) return KnobType::boolean;
  if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, std::optional<int64_t>>) return KnobType::integer;
  if constexpr (std::is_same_v<T, double> || std::is_same_v<T, std::optional<double>>) return KnobType::number;
  if constexpr (std::is_same_v<T, std::string>) return KnobType::text;
  if constexpr (std::is_same_v<T, std::vector<std::string>>) return KnobType::list;
  if constexpr (std::is_same_v<T, std::map<std::string, std::string>>) return KnobType::map;
  if constexpr (std::is_same_v<T, ComponentConfig>) return KnobType::component;
}

template <class T>
nlohmann::ordered_json to_value(const T& field) {
  if constexpr (is_optional<T>) {
    return field ? nlohmann::ordered_json(*field) : nlohmann::ordered_json();
  } else if constexpr (std::is_same_v<T, ComponentConfig>) {
    if (field.options.empty()) return field.name.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(field.name);
    nlohmann::ordered_json out;
    out["name"] = field.name.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(field.name);
    for (const auto& [key, value] : field.options.items()) out[key] = value;
    return out;
  } else {
    return field;
  }
}

template <class T>
void from_value(const nlohmann::json& value, T& field) {
  if constexpr (is_optional<T>) {
    field = value.is_null() ? T() : T(value.get<typename T::value_type>());
  } else if constexpr (std::is_same_v<T, std::string>) {
    field = value.is_null() ? "" : value.get<std::string>();
  } else if constexpr (std::is_same_v<T, ComponentConfig>) {
    field = {};
    if (value.is_string()) field.name = value.get<std::string>();
    if (!value.is_object()) return;
    field.options = value;
    field.options.erase("name");
    if (auto name = value.find("name"); name != value.end() && name->is_string()) field.name = name->get<std::string>();
  } else {
    field = value.get<T>();
  }
}

// `reach` finds the field in a Config; it is used for reading and for writing.
template <class T, class Reach>
Knob make(std::string key, Reach reach, std::string doc) {
  Knob knob;
  knob.key = std::move(key);
  knob.type = type_of<T>();
  knob.nullable = is_optional<T> || std::is_same_v<T, ComponentConfig>;
  knob.doc = std::move(doc);
  knob.read = [reach](const Config& config) { return to_value<T>(reach(const_cast<Config&>(config))); };
  knob.write = [reach](Config& config, const nlohmann::json& value) { from_value<T>(value, reach(config)); };
  return knob;
}

template <class T>
Knob top(const char* name, T Config::*field, const char* doc) {
  return make<T>(
      name, [field](Config& config) -> T& { return config.*field; }, doc);
}

template <class Section>
struct KnobTable {
  std::string section;
  Section Config::*in_config;
  template <class T>
  Knob operator()(const char* name, T Section::*field, const char* doc) const {
    auto reach = [in = in_config, field](Config& config) -> T& { return config.*in.*field; };
    return make<T>(section + "." + name, reach, doc);
  }
};

constexpr double any_count = 1e12;

// A table in a file of its own; the others are in knobs.cpp.
std::vector<Knob> optimizer_knobs();

}  // namespace t2i
