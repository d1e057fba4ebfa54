// A knob: one key of the configuration, with all that help, schema, checks and the written config.yaml need to know of
// it. The tables are in knobs.cpp, a row per field of the structs in config.h; the defaults are those structs' own.
#pragma once
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/config/config.h"

namespace t2i {

enum class KnobType {
  boolean,
  integer,
  number,
  text,
  choice,     // a text out of `choices`
  list,       // of texts, out of `choices` if there are any
  map,        // text → text, keys free
  component,  // a name, or a map with `name` and the component's own options
};

struct Knob {
  std::string key;  // "train.max_train_steps"
  KnobType type = KnobType::text;
  bool nullable = false;
  double minimum = -std::numeric_limits<double>::infinity();
  double maximum = std::numeric_limits<double>::infinity();
  bool above_minimum = false;  // the minimum itself is out of range
  bool below_maximum = false;  // likewise
  std::vector<std::string> choices;
  std::vector<std::string> only_for;  // names of the section's component that read it; empty: all do
  bool safe_on_resume = false;  // may change between a run and its continuation: no step computes anything else
  std::string doc;              // one sentence
  std::string example;          // for messages, where the default tells too little

  std::function<nlohmann::ordered_json(const Config&)> read;
  std::function<void(Config&, const nlohmann::json&)> write;  // the value is checked before

  // What the configuration holds, null for an empty text that may be null.
  nlohmann::ordered_json value(const Config& config) const;

  // Refinements, so that a row of a table reads as a sentence.
  Knob&& or_null() &&;
  Knob&& at_least(double low) &&;
  Knob&& above(double low) &&;
  Knob&& at_most(double high) &&;
  Knob&& below(double high) &&;
  Knob&& one_of(std::vector<std::string> names) &&;
  Knob&& read_by(std::vector<std::string> names) &&;
  Knob&& safe() &&;
  Knob&& such_as(std::string text) &&;
};

// All knobs, section by section, in the order they are shown.
const std::vector<Knob>& knobs();

// Null when there is none.
const Knob* find_knob(const std::string& key);

// "train" of "train.seed", "" of "output".
std::string section_of(const std::string& key);
std::string leaf_of(const std::string& key);

// The sections in order, with a line each about what they hold.
struct KnobSection {
  std::string name, doc;
};
const std::vector<KnobSection>& knob_sections();

// What a value must be: "a whole number from 1 to 64", "one of no, fp16", "true or false".
std::string knob_expects(const Knob& knob);

// The default as it would be written in YAML: `500`, `null`, `[tensorboard]`.
std::string knob_default(const Knob& knob);

// A JSON value on one line of YAML (flow style), quoted where YAML could read it as something else.
std::string yaml_flow(const nlohmann::ordered_json& value);

}  // namespace t2i
