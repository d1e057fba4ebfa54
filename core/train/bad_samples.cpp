#include "core/train/bad_samples.h"

#include <fmt/format.h>

#include <filesystem>
#include <sstream>
#include <utility>

#include "core/base/file.h"

namespace t2i {
namespace {

// The advice is left out: it says how to come here.
Json entry_of(uint64_t row, const Dataset& dataset, Error reason) {
  std::string id = std::exchange(reason.id, "");
  reason.todo.clear();
  return {{"row", row}, {"where", dataset.rows[row].where}, {"id", "T2I-" + id}, {"error", to_string(reason)}};
}

std::string line_of(const Json& entry) {  // file names may be any bytes
  return entry.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

BadSamples::BadSamples(const Config& config, const Dataset& dataset, Group& group, bool resumed)
    : dataset_(dataset), group_(group), path_((std::filesystem::path(config.output) / "bad_samples.jsonl").string()) {
  bool there = std::filesystem::exists(path_);
  if (resumed && there && group.is_first()) {
    std::istringstream lines(read_file(path_).take());
    for (std::string line; std::getline(lines, line);) {
      Json entry = Json::parse(line, nullptr, false);
      uint64_t row = entry.is_object() ? entry.value("row", uint64_t{0}) : 0;
      // A line that is not of this data was somebody else's, or the data was changed on purpose.
      if (entry.is_object() && row < dataset.rows.size() && entry.value("where", "") == dataset.rows[row].where)
        rows_.emplace(row, std::move(entry));
    }
  }
  for (const BadRow& bad : dataset.bad) add(bad.index, entry_of(bad.index, dataset, bad.reason), nullptr);
  unshared_.clear();  // every process has read the same data
  if (rows_.empty() && there && group.is_first()) std::filesystem::remove(path_);
  if (changed_) write();
}

void BadSamples::add(uint64_t row, Json entry, Logbook* logbook) {
  if (!rows_.emplace(row, std::move(entry)).second) return;
  changed_ = true;
  unshared_.push_back(row);
  const Json& added = rows_.at(row);
  if (logbook)
    logbook->note(
        fmt::format("skipped: {}  [{}]", added.at("error").get<std::string>(), added.at("id").get<std::string>()));
}

void BadSamples::write() {
  changed_ = false;
  if (!group_.is_first()) return;
  std::string text;
  for (const auto& [row, entry] : rows_) text += line_of(entry) + "\n";
  write_file(path_, as_bytes(text));
}

void BadSamples::collect(const Loader& loader, Logbook& logbook) {
  for (; collected_ < loader.skipped().size(); ++collected_) {
    const SkippedSample& skipped = loader.skipped()[collected_];
    add(skipped.index, entry_of(skipped.index, dataset_, skipped.reason), &logbook);
  }
  if (changed_) write();
}

void BadSamples::share(Logbook& logbook) {
  if (group_.world() == 1) return;
  Json mine = Json::array();
  for (uint64_t row : unshared_) mine.push_back(rows_[row]);
  unshared_.clear();
  for (const std::string& text : group_.gather_text(line_of(mine), "skipped samples"))
    for (Json& entry : Json::parse(text)) add(entry.at("row"), entry, &logbook);
  unshared_.clear();
  if (changed_) write();
}

std::string BadSamples::summary() const {
  if (rows_.empty()) return "";
  std::string first = rows_.begin()->second.at("error");
  while (first.ends_with('.')) first.pop_back();
  return fmt::format("{} of {} samples {} left out (first: {}); all are listed in {}", rows_.size(),
                     dataset_.rows.size(), rows_.size() == 1 ? "is" : "are", first, path_);
}

}  // namespace t2i
