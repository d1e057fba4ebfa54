// What a check of a plugin found, and the table of checks: each keeps one rule of docs/plugin-rules.md.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace t2i {

struct Outcome {
  enum Status { pass, fail, skip } status = pass;
  std::string text;  // one sentence: what is wrong, or why the check was left out; for a pass what was looked at, or nothing
};

struct CheckContext {
  std::filesystem::path file;
  std::string model;  // a model folder to check a model on; empty: models are only looked at, not built
  uint64_t seed = 1;
};

struct Check {
  const char* group;
  const char* name;
  const char* rule;     // "F1": its line in docs/plugin-rules.md
  const char* promise;  // what the plugin promises
  Outcome (*run)(const CheckContext&);
};

const std::vector<Check>& file_checks();
const std::vector<Check>& descriptor_checks();
const std::vector<Check>& error_checks();
const std::vector<Check>& memory_checks();
const std::vector<Check>& determinism_checks();
const std::vector<Check>& gradient_checks();

}  // namespace t2i
