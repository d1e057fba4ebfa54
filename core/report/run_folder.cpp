#include "core/report/run_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <sstream>

#include "core/config/knob.h"

namespace fs = std::filesystem;

namespace t2i {
namespace {

constexpr size_t most_bad_samples = 200;

std::vector<Json> json_lines(const Path& path) {
  std::vector<Json> out;
  Result<std::string> text = read_file(path);
  if (!text) return out;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    Json value = Json::parse(line, nullptr, false);
    if (value.is_object()) out.push_back(std::move(value));
  }
  return out;
}

// A run holds the lock for its life, and the system drops it with the process. The lock itself is tried only where the
// process that it names is alive: a run that begins must not find it taken by somebody who only looks.
bool is_locked(const Path& path) {
  const Path file = path / "run.lock";
  Result<std::string> text = read_file(file, 4096);
  if (!text || text->empty()) return false;
  const Json holder = Json::parse(*text, nullptr, false);
  if (!holder.is_object() || !holder.value("pid", Json()).is_number_integer()) return false;
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  if (holder.value("host", Json()) != host) return true;  // as far as can be seen from here
  if (::kill(holder["pid"].get<int>(), 0) < 0 && errno == ESRCH) return false;
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return false;
  const bool held = ::flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
  ::close(fd);
  return held;
}

}  // namespace

bool is_run_folder(const Path& path) {
  std::error_code none;
  return fs::is_regular_file(path / "config.yaml", none) || fs::is_regular_file(path / "metrics.jsonl", none);
}

Result<RunFolder> open_run_folder(const Path& path) {
  std::error_code none;
  if (!fs::is_directory(path, none))
    return Error{path.string(), "there is no such folder", "", "give the output folder of a run", "E8001", Exit::missing};
  if (!is_run_folder(path))
    return Error{path.string(), "is not the folder of a run", "It has neither a config.yaml nor a metrics.jsonl",
                 "give what the run had as its output", "E8002", Exit::missing};
  RunFolder run;
  run.path = path;
  Path whole = fs::weakly_canonical(path, none);
  run.name = (none ? path : whole).filename().string();
  if (Result<std::string> text = read_file(path / "config.yaml")) {
    run.config_text = *text;
    try {
      run.config = load_config_text(*text, "config.yaml", {});
    } catch (const Failure& f) {
      run.config_problem = f.what();
    }
  } else {
    run.config_problem = to_string(text.error());
  }
  run.events = json_lines(path / "events.jsonl");
  std::vector<Json> bad = json_lines(path / "bad_samples.jsonl");
  run.bad_samples = static_cast<int64_t>(bad.size());
  for (size_t i = 0; i < std::min(bad.size(), most_bad_samples); ++i) run.first_bad_samples.push_back(bad[i]);
  if (auto text = read_file(path / "data.json")) {
    Json data = Json::parse(*text, nullptr, false);
    if (data.is_object()) run.data = std::move(data);
  }
  run.locked = is_locked(path);
  return run;
}

static std::string text_of(const Json& event, const char* key) {
  auto found = event.find(key);
  return found != event.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string RunFolder::status() const {
  if (locked) return "running";
  for (auto event = events.rbegin(); event != events.rend(); ++event) {
    const std::string kind = text_of(*event, "kind");
    if (kind == "end") return text_of(*event, "text");
    if (kind == "error") return "failed";
    if (kind == "start") return "interrupted";
  }
  return "unknown";
}

int64_t RunFolder::total_steps() const {
  for (auto event = events.rbegin(); event != events.rend(); ++event)
    if (text_of(*event, "kind") == "start" && event->value("total", Json()).is_number_integer()) return event->at("total");
  return config && config->train.max_train_steps ? *config->train.max_train_steps : 0;
}

std::vector<Json> RunFolder::resumes() const {
  std::vector<Json> out;
  for (const Json& event : events)
    if (text_of(event, "kind") == "start" && event.value("step", Json()).is_number_integer() && event.at("step") > 0)
      out.push_back({{"step", event.at("step")}, {"time", text_of(event, "time")}});
  return out;
}

Json config_json(const Config& config) {
  Json out = Json::array();
  for (const KnobSection& section : knob_sections()) {
    Json keys = Json::array();
    const Knob* names = find_knob(section.name + ".name");
    const std::string chosen = names ? yaml_flow(names->value(config)) : "";
    for (const Knob& knob : knobs()) {
      if (section_of(knob.key) != section.name) continue;
      const bool read = knob.only_for.empty() || std::ranges::count(knob.only_for, chosen);
      const std::string now = yaml_flow(knob.value(config)), standard = knob_default(knob);
      if (!read && now == standard) continue;
      keys.push_back({{"key", knob.key}, {"value", now}, {"default", standard}, {"changed", now != standard}, {"doc", knob.doc}});
    }
    out.push_back({{"section", section.name}, {"doc", section.doc}, {"keys", keys}});
  }
  return out;
}

}  // namespace t2i
