#include "core/train/resume.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "core/base/file.h"
#include "core/base/version.h"
#include "core/checkpoint/commit.h"
#include "core/train/saved_state.h"

namespace t2i {

// What computes the steps: the same bits are promised only while all of it stays.
static Json programs(const Session& session) {
  auto of = [](const Component& c) { return c.plugin_id + " " + c.version; };
  return {{"t2i", version},
          {"torch", T2I_TORCH_VERSION},
          {"plugin ABI", fmt::format("{}.{}", T2I_ABI_MAJOR, T2I_ABI_MINOR)},
          {"device", session.device.is_cuda() ? "cuda" : "cpu"},
          {"model", of(session.model->component())},
          {"task", of(session.task->component())},
          {"loss", of(session.loss->component())}};
}

// "torch was 2.10.0 and is 2.11.0": allowed, and to be known. Empty where nothing changed.
static std::string changed_programs(const Json& before, const Json& now) {
  std::string text;
  for (const auto& [name, value] : now.items())
    if (before.contains(name) && before[name] != value)
      text += fmt::format("{}{} was {} and is {}", text.empty() ? "" : ", ", name, before[name].get<std::string>(),
                          value.get<std::string>());
  return text;
}

Json state_record(const Session& session, const Config& config, const Dataset& dataset, RunCounts counts) {
  return {{"samples_seen", counts.samples_seen},
          {"nan_skips", counts.nan_skips},
          {"config", to_json(config)},
          {"config_yaml", write_config(config)},
          {"data_fingerprint", dataset.fingerprint},
          {"model", session.model->id()},
          {"task", {{"name", session.task->id()}, {"options", Json::parse(session.task_options)}}},
          {"loss", {{"name", session.loss->id()}, {"options", Json::parse(session.loss_options)}}},
          {"config_hash", config_hash(config)},
          {"made_by", programs(session)}};
}

static std::vector<Error> unsafe_changes(const RunOptions& options, const Checkpoint& checkpoint, const Dataset& dataset) {
  std::vector<Error> errors;
  std::string from = checkpoint.folder.string();
  Config before = load_config_text(checkpoint.manifest.state.at("config_yaml"), from + "/manifest.json", {});
  for (const ConfigChange& c : diff_configs(before, options.config).unsafe) {
    if (std::find(options.allow_change.begin(), options.allow_change.end(), c.key) != options.allow_change.end()) continue;
    if (c.key == "output") continue;  // the folder was moved: it is still the same run
    errors.push_back(
        {c.key, fmt::format("is {} now and was {} in the run that {} holds", c.after, c.before, options.config.output),
         "Going on would train something else than was begun",
         "set it back, use another output, or add --allow-change " + c.key, "E1030", Exit::config});
  }
  if (checkpoint.manifest.state.at("data_fingerprint") != dataset.fingerprint &&
      std::find(options.allow_change.begin(), options.allow_change.end(), "data") == options.allow_change.end())
    errors.push_back({dataset.root, "the data is no longer what this run began with",
                      "Rows or images were added, removed or changed", "use another output, or add --allow-change data",
                      "E4131", Exit::config});
  return errors;
}

RunCounts resume(const RunOptions& options, const Session& session, const Dataset& dataset, Group& group, TrainState& state) {
  Path output = options.config.output;
  if (group.is_first())  // it holds the run's lock
    for (const Error& notice : remove_leftovers(output)) fmt::print(stderr, "notice: {}\n", to_string(notice));
  NewestCheckpoint newest = find_newest_valid(output).take();
  RunCounts counts;
  auto tell = [&](const std::string& notice) {
    if (!group.is_first()) return;
    fmt::print(stderr, "notice: {}\n", notice);
    counts.notices.push_back(notice);
  };
  for (const Error& notice : newest.notices) tell(to_string(notice));
  if (newest.checkpoint) {
    if (auto errors = unsafe_changes(options, *newest.checkpoint, dataset); !errors.empty()) throw Failure(std::move(errors));
    restore_state(state, *newest.checkpoint);
    const Json& record = newest.checkpoint->manifest.state;
    if (auto changed = changed_programs(record.value("made_by", Json::object()), programs(session)); !changed.empty())
      tell(fmt::format("{}: {}. What follows may differ in the last bits from a run that was not interrupted.", newest.checkpoint->folder.string(), changed));
    counts.samples_seen = record.at("samples_seen");
    counts.nan_skips = record.value("nan_skips", int64_t{0});  // younger than the form
  }
  if (group.is_first()) {
    std::string text = write_config(options.config);
    write_file(output / "config.yaml", as_bytes(text));
  }
  // Everyone has the same state? A shared folder may still show an old listing to one machine.
  require_equal(group, {{"step to go on from", fmt::format("{}", state.step)},
                        {"samples seen", fmt::format("{}", counts.samples_seen)},
                        {"steps left out", fmt::format("{}", counts.nan_skips)}});
  return counts;
}

}  // namespace t2i
