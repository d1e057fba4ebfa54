#include "core/generate/scheduler_file.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace t2i {

namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// Python writes infinities as bare words, which JSON does not have; a reader may have kept them as text.
std::optional<double> as_number(const nlohmann::json& value) {
  if (value.is_number()) return value.get<double>();
  if (!value.is_string()) return std::nullopt;
  if (value == "Infinity") return std::numeric_limits<double>::infinity();
  if (value == "-Infinity") return -std::numeric_limits<double>::infinity();
  return std::nullopt;
}

}  // namespace

SchedulerFile::SchedulerFile(nlohmann::json values, std::string path)
    : values_(std::move(values)), path_(std::move(path)) {
  if (!values_.is_object()) {
    problems_.push_back({path_, "a scheduler's configuration must be a JSON object", "",
                         "take the file from the published folder again", "E6003", Exit::bad_data});
    values_ = nlohmann::json::object();
  }
}

const nlohmann::json* SchedulerFile::find(const std::string& key) const {
  auto at = values_.find(key);
  return at == values_.end() ? nullptr : &*at;
}

std::string SchedulerFile::class_name() const {
  const nlohmann::json* value = find("_class_name");
  return value && value->is_string() ? value->get<std::string>() : "";
}

bool SchedulerFile::is_flow() const {
  const nlohmann::json* prediction = find("prediction_type");
  return has_flow_class() || (prediction && *prediction == "flow_prediction");
}

std::string SchedulerFile::prediction() const {
  if (is_flow()) return "flow_prediction";
  const nlohmann::json* said = find("prediction_type");
  return said && said->is_string() ? said->get<std::string>() : "epsilon";
}

std::optional<double> SchedulerFile::number(const std::string& key) {
  const nlohmann::json* value = find(key);
  if (!value || value->is_null()) return std::nullopt;
  std::optional<double> number = as_number(*value);
  if (!number) refuse(key, "It must be a number", "correct it");
  return number;
}

double SchedulerFile::number(const std::string& key, double fallback) { return number(key).value_or(fallback); }

int64_t SchedulerFile::integer(const std::string& key, int64_t fallback, int64_t minimum, int64_t maximum) {
  std::optional<double> value = number(key);
  if (!value) return fallback;
  if (*value != std::floor(*value) || *value < static_cast<double>(minimum) || *value > static_cast<double>(maximum)) {
    refuse(key, "It must be an integer from " + std::to_string(minimum) + " to " + std::to_string(maximum),
           "correct it");
    return fallback;
  }
  return static_cast<int64_t>(*value);
}

bool SchedulerFile::flag(const std::string& key, bool fallback) {
  const nlohmann::json* value = find(key);
  if (!value) return fallback;
  if (value->is_null()) return false;
  if (value->is_boolean()) return value->get<bool>();
  refuse(key, "It must be true or false", "correct it");
  return fallback;
}

std::string SchedulerFile::choice(const std::string& key, const std::string& fallback,
                                  const std::vector<std::string>& allowed) {
  const nlohmann::json* value = find(key);
  if (!value || value->is_null()) return fallback;
  if (value->is_string() && std::ranges::find(allowed, value->get<std::string>()) != allowed.end())
    return value->get<std::string>();
  std::optional<std::string> near = value->is_string() ? nearest(value->get<std::string>(), allowed) : std::nullopt;
  refuse(key, "Known are " + joined(allowed), near ? "did you mean '" + *near + "'?" : "use one of them");
  return fallback;
}

std::vector<double> SchedulerFile::numbers(const std::string& key) {
  std::vector<double> all;
  const nlohmann::json* value = find(key);
  if (!value || value->is_null()) return all;
  if (!value->is_array()) {
    refuse(key, "It must be a list of numbers", "correct it");
    return all;
  }
  for (const nlohmann::json& element : *value) {
    if (!element.is_number()) {
      refuse(key, "It must be a list of numbers", "correct it");
      return {};
    }
    all.push_back(element.get<double>());
  }
  return all;
}

void SchedulerFile::refuse(const std::string& key, const std::string& why, const std::string& todo) {
  const nlohmann::json* value = find(key);
  std::string text = value ? value->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) : "not set";
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  problems_.push_back({path_, "'" + key + "' is " + text + ", which cannot be used", why, todo, "E6003", Exit::bad_data});
}

void SchedulerFile::check() const {
  if (!problems_.empty()) throw Failure(problems_);
}

}  // namespace t2i
