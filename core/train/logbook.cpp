#include "core/train/logbook.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "core/train/meter.h"

namespace t2i {

struct Logbook::State {
  const Config& config;
  Group& group;
  int64_t max_steps;
  bool loss_scaling;
  std::ofstream lines;
  std::vector<StepRecord> records;
  int64_t bad_steps = 0;
};

Logbook::Logbook(const Config& config, Group& group, int64_t, int64_t max_steps, bool loss_scaling)
    : state_(new State{config, group, max_steps, loss_scaling, {}, {}, 0}) {
  if (group.is_first()) state_->lines.open(std::filesystem::path(config.output) / "metrics.jsonl", std::ios::app);
}
Logbook::~Logbook() = default;

void Logbook::add(StepRecord record) { state_->records.push_back(std::move(record)); }

void Logbook::note(const std::string& line) {
  if (state_->group.is_first()) fmt::print(stderr, "{}\n", printable(line));
}

void Logbook::image(const std::string&, const std::string&, int64_t) {}

void Logbook::flush() {
  if (state_->records.empty()) return;
  std::vector<at::Tensor> rows;
  for (const StepRecord& r : state_->records)
    rows.push_back(at::stack({r.result.loss.to(at::kFloat), r.result.raw_loss.to(at::kFloat), r.result.grad_norm, r.result.found_bad.reshape({})}));
  at::Tensor table = at::stack(rows).to(at::kCPU).contiguous();
  auto value = table.accessor<float, 2>();
  for (size_t i = 0; i < state_->records.size(); ++i) {
    const StepRecord& r = state_->records[i];
    auto at = static_cast<int64_t>(i);
    nlohmann::ordered_json line{{"step", r.step}, {"epoch", r.epoch}, {"loss", value[at][0]}, {"raw_loss", value[at][1]}, {"lr", r.learning_rate},
                                {"grad_norm", value[at][2]}, {"step_seconds", r.step_seconds}, {"data_seconds", r.data_seconds},
                                {"images_per_second", static_cast<double>(r.images) / r.step_seconds}};
    if (state_->group.is_first()) state_->lines << line.dump() << std::endl;
    if (r.step % state_->config.train.log_every_steps == 0) note(line.dump());
  }
  state_->records.clear();
}

}  // namespace t2i
