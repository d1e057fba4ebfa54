// scheduler/scheduler_config.json, asked key by key.
//
// diffusers gives every scheduler class its own defaults, and a folder's file may be read by another class than the one
// that wrote it (--sampler). So whoever asks for a key brings the default of its own class. Each question checks the
// value's type and range; the problems are collected and thrown together by check().
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"

namespace t2i {

class SchedulerFile {
 public:
  // `path` names the file in messages.
  SchedulerFile(nlohmann::json values, std::string path);

  const std::string& path() const { return path_; }
  std::string class_name() const;  // "_class_name", "" where there is none
  // Was the model trained on flows? Its file is then of a flow's own class, or another class's that says so: pipelines
  // made for diffusion cannot do with the former.
  bool is_flow() const;
  // What its model predicts, in diffusers' words: a flow of its own class does not say it.
  std::string prediction() const;
  bool has_flow_class() const { return class_name().starts_with("FlowMatch"); }

  // A key that is absent, or null, has the fallback; a null flag is false.
  double number(const std::string& key, double fallback);
  std::optional<double> number(const std::string& key);
  int64_t integer(const std::string& key, int64_t fallback, int64_t minimum, int64_t maximum);
  bool flag(const std::string& key, bool fallback);
  std::string choice(const std::string& key, const std::string& fallback, const std::vector<std::string>& allowed);
  std::vector<double> numbers(const std::string& key);  // empty where absent

  // Records that the value of `key` cannot be used: E6003 with file, key and value.
  void refuse(const std::string& key, const std::string& why, const std::string& todo);

  // What a choice of the user's decides over the file.
  void set(const std::string& key, nlohmann::json value) { values_[key] = std::move(value); }

  // Throws Failure with everything found so far.
  void check() const;

 private:
  const nlohmann::json* find(const std::string& key) const;
  nlohmann::json values_;
  std::string path_;
  std::vector<Error> problems_;
};

}  // namespace t2i
