// What a run's folder tells besides its numbers: configuration, events, what was left out, the data, and whether the run
// is done. Reading never fails on a part that is missing or damaged; the report says so instead.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/config/config.h"

namespace t2i {

struct RunFolder {
  Path path;
  std::string name;              // the folder's own
  std::optional<Config> config;  // as config.yaml says
  std::string config_text, config_problem;  // the file, and why it could not be read as a configuration
  std::vector<Json> events;                 // of events.jsonl, in order
  int64_t bad_samples = 0;
  Json first_bad_samples = Json::array();  // some hundred of bad_samples.jsonl
  Json data;                               // data.json, null when there is none
  bool locked = false;                     // a process is at work on it

  // running, done, stopped (by a signal, to go on), failed, interrupted (it was ended from outside); unknown where
  // there are no events.
  std::string status() const;
  int64_t total_steps() const;              // 0: not known
  std::vector<Json> resumes() const;        // start events after step 0
};

// Is it the folder of a run: is there a config.yaml or a metrics.jsonl?
bool is_run_folder(const Path& path);

// E8001 (66) where there is no folder, E8002 (66) where it is not a run's.
Result<RunFolder> open_run_folder(const Path& path);

// [{section, doc, keys: [{key, value, default, changed, doc}]}] in the order of the tables; values as YAML has them. Keys that
// only another component of the section would read are left out while they are at their defaults.
Json config_json(const Config& config);

}  // namespace t2i
