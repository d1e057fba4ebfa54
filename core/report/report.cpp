#include "core/report/report.h"

#include <fmt/format.h>

#include <cmath>

#include "core/base/number_text.h"
#include "core/base/version.h"
#include "core/metric/clock.h"
#include "core/metric/run_events.h"
#include "core/report/page.h"

namespace t2i {
namespace {

constexpr size_t most_events = 1000;

Json number_or_null(double x) { return std::isfinite(x) ? Json(x) : Json(); }

// The last so many; the first start stays, which is when the run began.
Json shown_events(const std::vector<Json>& events) {
  Json out = Json::array();
  const size_t from = events.size() > most_events ? events.size() - most_events : 0;
  for (size_t i = from; i < events.size(); ++i) out.push_back(events[i]);
  return out;
}

std::string began(const std::vector<Json>& events) {
  for (const Json& event : events)
    if (event.value("time", Json()).is_string()) return event["time"];
  return "";
}

}  // namespace

Json run_json(const RunFolder& run, const Curves& curves, const std::string& status) {
  Json out = {{"name", run.name},
              {"folder", run.path.string()},
              {"status", status.empty() ? run.status() : status},
              {"step", curves.last_step()},
              {"total", run.total_steps()},
              {"epoch", curves.last_epoch()},
              {"began", began(run.events)},
              {"seconds", curves.sum("step_seconds")},
              {"waiting_seconds", curves.sum("data_seconds")},
              {"loss", number_or_null(curves.recent("loss", 50))},
              {"images_per_second", number_or_null(curves.recent("images_per_second", 50))},
              {"peak_memory_bytes", number_or_null(curves.greatest("peak_memory_bytes"))},
              {"lines", curves.lines()},
              {"unread_lines", curves.unread_lines()},
              {"unfinished_line", curves.unfinished_line()},
              {"resumes", run.resumes()},
              {"curves", curves.to_json()}};
  if (run.config) {
    out["config"] = config_json(*run.config);
    out["chosen"] = {{"task", run.config->task.name}, {"loss", run.config->loss.name}, {"model", run.config->model.path}};
  } else {
    out["config_text"] = run.config_text;
    out["config_problem"] = run.config_problem;
  }
  return out;
}

Result<std::string> RunReport::page(const std::string& status) {
  Result<RunFolder> run = open_run_folder(run_);
  if (!run) return run.error();
  curves_.read(run_ / "metrics.jsonl");
  Json data = run_json(*run, curves_, status);
  data["written"] = utc_text(real_clock().wall_seconds());
  data["t2i"] = version;
  data["events"] = shown_events(run->events);
  data["bad_samples"] = {{"count", run->bad_samples}, {"first", run->first_bad_samples}};
  data["data"] = run->data;
  data["pictures"] = picture_grid(shelf_, run_, run->config ? run->config->validation.images : std::vector<std::string>());
  pictures_ = data["pictures"]["files"].size();
  return make_page("report.html", {"common.js", "chart.js", "report.js"}, run->name + " · t2i report", data);
}

int report_run(const std::string& folder, const std::string& output) {
  RunReport report(folder);
  const Path file = output.empty() ? Path(folder) / "report.html" : Path(output);
  Result<std::string> page = report.page();
  if (!page) throw Failure(page.error());
  require_own_page(file);
  write_file(file, as_bytes(*page));
  const Curves& curves = report.curves();
  fmt::print("{}: {} steps", file.string(), grouped(static_cast<uint64_t>(curves.last_step())));
  if (double loss = curves.recent("loss", 50); std::isfinite(loss)) fmt::print(", loss {:.4g}", loss);
  fmt::print(", {} pictures, {}\n", report.pictures(), bytes_text(page->size()));
  if (curves.unread_lines())
    fmt::print("notice: {} lines of metrics.jsonl were passed over: they are damaged or out of order\n", grouped(static_cast<uint64_t>(curves.unread_lines())));
  return 0;
}

}  // namespace t2i
