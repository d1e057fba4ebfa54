#include "core/observers.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/base/file.h"
#include "core/publish/hub.h"
#include "core/publish/wandb.h"
#include "core/report/report_writer.h"
#include "core/train/stop_signal.h"

namespace t2i {

constexpr double wandb_patience_seconds = 600, wandb_patience_when_stopped_seconds = 20;

struct Observers::State {
  const Config& config;
  Logbook* logbook = nullptr;
  std::unique_ptr<ReportWriter> report;
  std::unique_ptr<WandbFeed> wandb;

  void tell(const std::string& line) {
    if (!line.empty()) logbook->note(line);
  }
  void tell_problem() {
    if (std::string why = report ? report->problem() : ""; !why.empty()) tell("warning: report.html is not written: " + why);
  }
  // A signal asks for a second time? Then the client is not waited for any longer.
  void finish_wandb(const std::string& word, double patience) {
    if (!wandb) return;
    tell("handing what is left over to wandb");
    const int before = stop_signal();
    tell(wandb->finish(word, patience, [before] { return stop_signal() != before; }));
    wandb.reset();
  }
};

Observers::Observers(const Config& config, bool is_first) {
  if (!is_first) return;
  state_.reset(new State{config, nullptr, nullptr, nullptr});
  std::vector<Error> errors = check_hub(config);
  try {
    if (std::ranges::count(config.report_to, "wandb")) state_->wandb = std::make_unique<WandbFeed>(config);
  } catch (const Failure& f) {
    errors.insert(errors.end(), f.errors.begin(), f.errors.end());
  }
  if (!errors.empty()) throw Failure(std::move(errors));
}

Observers::~Observers() = default;

void Observers::begin(Logbook& logbook, const Json& data_summary) {
  if (!state_) return;
  State& s = *state_;
  s.logbook = &logbook;
  if (std::string notice = login_notice(s.config); !notice.empty()) s.tell("notice: " + notice);
  try {
    const std::string text = data_summary.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
    write_file(Path(s.config.output) / "data.json", as_bytes(text));
  } catch (const Failure& f) {
    s.tell(fmt::format("warning: data.json is not written: {}", f.what()));
  }
  if (s.config.checkpoint.report) s.report = std::make_unique<ReportWriter>(s.config.output);
  if (!s.wandb) return;
  s.tell(s.wandb->wait_until_ready([] { return stop_signal() != 0; }));
  s.wandb->begin();
}

void Observers::listen() {
  if (!state_) return;
  if (state_->wandb)
    for (const std::string& line : state_->wandb->lines()) state_->tell(line);
  state_->tell_problem();
}

void Observers::refresh() {
  if (state_ && state_->report) state_->report->ask();
}

Exit Observers::watch(const std::function<Exit()>& train) {
  try {
    return train();
  } catch (const std::exception& e) {
    if (state_ && state_->logbook) {
      State& s = *state_;
      const std::string what = e.what();
      s.logbook->record("error", dynamic_cast<const Failure*>(&e) ? what : what.substr(0, what.find('\n')));
      if (s.report) s.report->finish("failed");
      s.finish_wandb("failed", wandb_patience_when_stopped_seconds);
    }
    throw;
  }
}

std::optional<Error> Observers::finish(Exit result, const Done& done) {
  if (!state_) return std::nullopt;
  State& s = *state_;
  const std::string word = result == Exit::done ? "done" : "stopped";
  s.logbook->record("end", word);
  if (s.report) {
    const bool written = s.report->finish(word);
    s.tell_problem();
    if (written) s.tell("report: " + s.report->file().string());
  }
  s.finish_wandb(word, result == Exit::done ? wandb_patience_seconds : wandb_patience_when_stopped_seconds);
  if (result != Exit::done || s.config.hub.repo.empty()) return std::nullopt;
  try {
    write_card(s.config, card_facts(s.config, done.base_folder, done.steps, done.edits));
  } catch (const Failure& f) {
    s.tell(fmt::format("warning: the model card is not written: {}", f.what()));
  }
  s.tell(fmt::format("uploading {} to {}", (Path(s.config.output) / "final").string(), s.config.hub.repo));
  std::string address;
  auto failed = upload_final(s.config, done.steps, address, [] { return stop_signal() != 0; });
  if (!failed) s.tell("uploaded: " + address);
  return failed;
}

}  // namespace t2i
