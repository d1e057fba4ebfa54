#include "core/train/logbook.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>

#include "core/base/file.h"
#include "core/base/version.h"
#include "core/metric/jsonl.h"
#include "core/metric/progress.h"
#include "core/metric/run_events.h"
#include "core/metric/tensorboard.h"
#include "core/plug/meter.h"
#include "core/precision/device.h"

namespace t2i {

static double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Logbook::State {
  const Config& config;
  Group& group;
  bool loss_scaling;
  at::Device device;
  double since;  // when the first of `records` began, by the clock of a device that works behind the host's back
  std::vector<StepRecord> records;
  int64_t bad_steps = 0, saved_step = 0;
  std::unique_ptr<MetricsFile> lines;
  std::unique_ptr<EventFile> events;
  std::unique_ptr<Progress> progress;
  std::unique_ptr<RunEvents> told;
  int64_t step = 0;  // the last that was added
};

Logbook::Logbook(const Config& config, Group& group, int64_t resumed_step, int64_t nan_skips, int64_t max_steps,
                 bool loss_scaling, at::Device device)
    : state_(new State{config, group, loss_scaling, device, now_seconds(), {}, nan_skips, resumed_step, {}, {}, {}, {}, resumed_step}) {
  if (!group.is_first()) return;
  std::filesystem::path output = config.output;
  state_->lines = std::make_unique<MetricsFile>(output / "metrics.jsonl", resumed_step);
  if (std::find(config.report_to.begin(), config.report_to.end(), "tensorboard") != config.report_to.end())
    state_->events = std::make_unique<EventFile>(output / "logs", resumed_step);
  Progress::Setup setup;
  setup.terminal = isatty(fileno(stderr));
  setup.columns = terminal_columns(fileno(stderr));
  setup.total_steps = max_steps, setup.first_step = resumed_step;
  state_->progress = std::make_unique<Progress>(setup);
  state_->told = std::make_unique<RunEvents>(output / "events.jsonl");
  state_->told->start(resumed_step, max_steps, version);
}
Logbook::~Logbook() = default;

void Logbook::add(StepRecord record) {
  if (state_->progress) state_->progress->step_done(record.step, record.images);
  state_->step = record.step;
  state_->records.push_back(std::move(record));
}

int64_t Logbook::nan_skips() const { return state_->bad_steps; }

void Logbook::note(const std::string& line) {
  if (state_->progress) state_->progress->note(printable(line));
  const auto [kind, text] = kind_of_note(printable(line));
  record(kind, text);
}
void Logbook::record(const std::string& kind, const std::string& text) {
  if (state_->told) state_->told->write(kind, state_->step, text);
}
void Logbook::paused() {
  if (state_->progress) state_->progress->pause();
  state_->since = now_seconds();
}
void Logbook::saved(int64_t step) {
  state_->saved_step = step;
  state_->since = now_seconds();
  if (state_->progress) state_->progress->saved(), state_->progress->pause();
}

void Logbook::image(const std::string& tag, const std::string& png_path, int64_t width, int64_t height, int64_t step) {
  if (!state_->events) return;
  std::string png = read_file(png_path).take();
  state_->events->image(tag, step, width, height, as_bytes(png));
}

// Columns of the table that travels from the device: one row a step.
enum Column { loss_column, raw_column, norm_column, bad_column, scale_column, watched_column, columns };

static at::Tensor table_of(const std::vector<StepRecord>& records) {
  std::vector<at::Tensor> rows;
  for (const StepRecord& r : records) {
    at::Tensor watched = r.result.watched_grad.defined() ? r.result.watched_grad : at::zeros_like(r.result.grad_norm);
    rows.push_back(at::stack({r.result.loss.to(at::kFloat), r.result.raw_loss.to(at::kFloat), r.result.grad_norm,
                              r.result.found_bad.reshape({}), r.result.loss_scale, watched.to(at::kFloat)}));
  }
  return at::stack(rows);
}

static std::string first_few(const std::vector<std::string>& samples) {
  return fmt::format("{}{}", fmt::join(std::span(samples).first(std::min<size_t>(samples.size(), 4)), ", "),
                     samples.size() > 4 ? fmt::format(" and {} more", samples.size() - 4) : "");
}

// The samples to look at. Of several processes those whose own loss is no number; where all losses are numbers and
// only the gradient is not, those of all.
static std::string samples_of_bad_step(Group& group, const std::vector<std::string>& own, bool own_loss_is_good) {
  if (group.world() == 1) return first_few(own);
  std::vector<std::string> guilty, all;
  int rank = 0;
  for (const std::string& answer : group.gather_text((own_loss_is_good ? "+" : "-") + first_few(own), "samples")) {
    all.push_back(fmt::format("rank {}: {}", rank++, answer.substr(1)));
    if (answer.starts_with('-')) guilty.push_back(all.back());
  }
  return fmt::format("{}", fmt::join(guilty.empty() ? all : guilty, "; "));
}

void Logbook::flush() {
  State& s = *state_;
  if (s.records.empty()) return;
  at::Tensor table = table_of(s.records), own = table;
  if (s.group.world() > 1) {
    own = table.clone();
    s.group.all_reduce(table, "metrics"), table.div_(s.group.world());
  }
  table = table.to(at::kCPU).contiguous(), own = own.to(at::kCPU).contiguous();
  auto value = table.accessor<float, 2>(), own_value = own.accessor<float, 2>();
  std::vector<StepRecord> records = std::exchange(s.records, {});
  // A GPU's steps end when the table has come, not when the host had asked for them.
  const double until = now_seconds(), a_step = (until - s.since) / static_cast<double>(records.size());
  s.since = until;
  const MemoryUse memory = memory_use(s.device);
  for (size_t i = 0; i < records.size(); ++i) {
    const StepRecord& r = records[i];
    auto row = value[static_cast<int64_t>(i)];
    StepMetrics m;
    m.step = r.step, m.epoch = r.epoch, m.lr = r.learning_rate;
    m.loss = row[loss_column], m.raw_loss = row[raw_column], m.grad_norm = row[norm_column];
    m.step_seconds = s.device.is_cuda() ? a_step : r.step_seconds, m.data_seconds = r.data_seconds;
    m.images_per_second = static_cast<double>(r.images) / m.step_seconds;
    m.memory_bytes = memory.now_bytes, m.peak_memory_bytes = memory.peak_bytes;
    m.extras = r.part_rates;
    if (memory.peak_reserved_bytes)
      m.extras.push_back({"peak_reserved_bytes", static_cast<double>(memory.peak_reserved_bytes)});
    if (r.result.watched_grad.defined()) m.extras.push_back({"grad/attention_qk", row[watched_column]});
    if (s.loss_scaling) m.extras.push_back({"loss_scale", row[scale_column]});
    // With loss scaling a gradient that overflows is part of the method, while the scale can still fall.
    bool part_of_the_method = s.loss_scaling && std::isfinite(m.loss) && row[scale_column] > 1;
    bool bad = row[bad_column] > 0 && !part_of_the_method;
    if (i + 1 == records.size())
      for (auto& [name, mean] : meter_read()) m.extras.push_back({name, mean});
    if (s.lines) s.lines->write(m);
    bool logging = r.step % std::max<int64_t>(s.config.train.log_every_steps, 1) == 0;
    if (logging && s.events) s.events->metrics(m);
    if (logging && s.progress) s.progress->metrics(m);
    if (!bad) continue;
    if (++s.bad_steps > s.config.train.max_nan_skips)
      fail({fmt::format("step {}", r.step), fmt::format("the loss or its gradient is no number (loss {})", std::isnan(m.loss) ? std::nan("") : m.loss),
            fmt::format("{}{}. Its samples: {}",
                        s.config.optimizer.fused_backward ? "Weights have changed while it went backward" : "It did not change the weights",
                        s.saved_step ? fmt::format("; checkpoint-{} is from before it", s.saved_step) : "",
                        samples_of_bad_step(s.group, r.samples, std::isfinite(own_value[static_cast<int64_t>(i)][loss_column]))),
            "look at these samples; lower optimizer.learning_rate, set train.mixed_precision: fp32, or leave such "
            "steps out with "
            "train.max_nan_skips",
            "E4201", Exit::failed});
    note(fmt::format("warning: step {} was left out: the loss or its gradient is no number", r.step));
  }
}

}  // namespace t2i
