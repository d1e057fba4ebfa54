#include "core/curate/validate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <limits>

#include "core/curate/columns.h"
#include "core/curate/look.h"
#include "core/data/text.h"
#include "core/data_options.h"
#include "core/metric/clock.h"
#include "core/plug/host.h"
#include "core/plug/long_texts.h"
#include "core/session.h"

namespace t2i {
namespace {

struct Opened {
  std::unique_ptr<Session> session;  // where a model is given
  std::unique_ptr<Registry> registry;
  WantedColumns wanted;
  DatasetOptions options;
};

Opened open(const ValidateOptions& asked) {
  Opened out;
  const Config& config = asked.config;
  if (!config.model.path.empty()) out.session = open_session(config, asked.plugin_paths, {.task = false, .device = "cpu"});
  else out.registry = std::make_unique<Registry>(plugin_search_path(asked.plugin_paths), host());
  Registry& registry = out.session ? out.session->registry : *out.registry;
  out.options = dataset_options(config, registry);
  out.options.expand_repeats = false;
  out.options.skip_bad_files = false;  // a survey goes on all the same
  if (asked.all) out.options.problems_listed = std::numeric_limits<size_t>::max();
  out.wanted = out.session && out.session->task ? columns_of_task(*out.session->task, config) : wanted_columns(config, registry, out.options);
  return out;
}

void count_tokens(Session& session, const Dataset& dataset, const WantedColumns& wanted, const std::vector<bool>& bad, ValidationReport& report) {
  std::vector<TextAt> texts;
  for (const Row& row : dataset.rows)
    for (const std::string& name : wanted.captions)
      if (auto text = row.values.find(name); !bad[row.index] && text != row.values.end()) texts.push_back({text->second, row.where});
  for (const LongText& text : long_texts(*session.model, texts))
    report.problems.add("long_caption", {texts[text.index].where, fmt::format("{} of its caption {} beyond the {} of {}", counted(static_cast<size_t>(text.cut), "token"), text.cut == 1 ? "is" : "are", text.length, text.tokenizer),
                                         "What is beyond is not seen", "shorten it", "E2139", Exit::bad_data});
  if (report.problems.empty() || std::ranges::none_of(report.problems.kinds(), [](const ProblemKind& k) { return k.name == "long_caption"; }))
    for (std::string& notice : long_texts_notices(*session.model, texts, "caption")) report.notices.push_back(std::move(notice));  // some encoder sees all
  report.counted_tokens = true;
}

// "No valid image-caption pairs found", with what was looked for and what is there.
Error nothing_found(const ValidationReport& report, const WantedColumns& wanted, const std::string& seen) {
  const auto images = static_cast<size_t>(std::ranges::count_if(wanted.columns, [](const ColumnSpec& c) { return c.is_image; }));
  const bool pair = images == 1 && wanted.columns.size() == 2;
  std::vector<std::string> why;
  for (const ProblemKind& kind : report.problems.kinds()) why.push_back(fmt::format("{} {}", kind.count, kind.name));
  std::string what = pair ? "No valid image-caption pairs found" : "No valid rows found";
  const ProblemKind* first = report.problems.empty() ? nullptr : &report.problems.kinds().front();
  if (report.rows == 0 && first) what += ": " + first->first.front().what;
  else what += fmt::format(": looked at {} of {}{}; problems: {}", counted(report.rows, "row"), report.layout, seen.empty() ? "" : "; " + seen, fmt::join(why, ", "));
  return {report.path, what, "", first && !first->first.front().todo.empty() ? first->first.front().todo : "mend what is listed", "E2131", Exit::bad_data};
}

void print(const ValidationReport& report, bool json) {
  const std::string text = json ? report_json(report).dump(2, ' ', false, Json::error_handler_t::replace) + "\n" : printable(report_text(report));
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

}  // namespace

int validate_command(const ValidateOptions& asked) {
  const double began = real_clock().seconds();
  Opened opened = open(asked);
  Survey survey = survey_dataset(asked.config.data.path, opened.wanted.columns, opened.options);
  const Dataset& dataset = survey.dataset;
  for (const ProblemKind& kind : survey.problems.kinds())
    if (kind.name == "layout" && kind.first.front().exit == Exit::missing) throw Failure(kind.first);  // there is no such data

  ValidationReport report;
  report.path = asked.config.data.path, report.layout = dataset.layout, report.task = opened.wanted.task;
  report.columns = opened.wanted.columns, report.notices = dataset.notices, report.decoded = asked.decode;
  report.rows = dataset.rows.size();
  report.problems = Problems(opened.options.problems_listed);
  std::vector<bool> bad(dataset.rows.size());
  for (const BadRow& row : dataset.bad) bad[row.index] = true;
  for (const ProblemKind& kind : survey.problems.kinds()) report.problems.add_all(problem_kind_of(kind), kind);

  LookOptions look;
  look.decode = asked.decode, look.captions = opened.wanted.captions;
  look.resize_mismatched = asked.config.data.on_mismatch == "resize";
  look.limits.max_pixels = static_cast<uint64_t>(asked.config.data.max_pixels);
  look_at_rows(dataset, look, report, bad);
  if (opened.session) count_tokens(*opened.session, dataset, opened.wanted, bad, report);
  for (const std::string& kind : asked.allow) report.problems.drop(kind);
  for (const Row& row : dataset.rows)
    if (!bad[row.index]) ++report.usable, report.samples += row.repeats;
  report.seconds = real_clock().seconds() - began;

  print(report, asked.json);
  if (report.usable == 0) fail(nothing_found(report, opened.wanted, dataset.seen));
  if (report.problems.empty()) return 0;
  fail({report.path, fmt::format("{} of {} in {}", counted(report.problems.count(), "problem"), counted(report.problems.kinds().size(), "kind"), counted(report.rows, "row")),
        "", report.usable < report.rows ? "mend them, or leave rows that cannot be used out of a run with data.on_error: skip" : "mend them, or pass over a kind with --allow " + report.problems.kinds().front().name,
        "E2130", Exit::bad_data});
}

}  // namespace t2i
