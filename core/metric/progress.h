// How far a run is: one line that rewrites itself on a terminal, now and then a plain line elsewhere.
#pragma once
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

#include "core/metric/clock.h"
#include "core/metric/step_metrics.h"

namespace t2i {

// What the line says. Unknown things are left out of it.
struct ProgressView {
  int64_t step = 0, total = 0;
  std::optional<double> loss, loss_average, lr;
  std::optional<double> steps_per_second, images_per_second;
  int64_t memory_bytes = 0, memory_limit_bytes = 0;
  std::optional<double> data_share;  // of the time spent waiting for data, 0…1
  std::optional<double> seconds_since_save;
  std::optional<double> seconds_left;
};

// "step 1200/4000 30% | loss 0.0412 (ema 0.0437) | lr 9.8e-5 | …", at most `columns` wide (0: no limit): the parts that
// matter least are dropped first. Pure.
std::string format_progress(const ProgressView& view, int columns);

// 843 → "14:03", 7443 → "2:04:03", 180000 → "2d 2h".
std::string format_seconds_left(double seconds);

// The terminal's width: COLUMNS if set, else what the terminal says, else 80.
int terminal_columns(int fd);

class Progress {
 public:
  struct Setup {
    std::FILE* out = stderr;
    bool terminal = false;  // isatty of `out`
    int columns = 80;
    int64_t total_steps = 0, first_step = 0;  // first_step: done before, when resuming
    int64_t memory_limit_bytes = 0;
  };
  explicit Progress(const Setup& setup, Clock& clock = real_clock());
  ~Progress();  // leaves the cursor on a new line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // A step ended; costs nothing, prints when it is time.
  void step_done(int64_t step, int64_t images);
  // The numbers of a step, at logging steps.
  void metrics(const StepMetrics& metrics);
  // A checkpoint was saved.
  void saved();
  // Time until the next step_done() is not a step's: caching, validation, saving.
  void pause();
  // A line for the reader that stays, above the progress line.
  void note(const std::string& text);

 private:
  void show(bool forced);

  Setup setup_;
  Clock& clock_;
  ProgressView view_;
  double last_step_at_, last_shown_at_, saved_at_ = -1;
  double average_step_seconds_ = 0, average_images_ = 0;
  int64_t timed_steps_ = 0, skipped_steps_ = 0;
  bool paused_ = true;  // the first step has no beginning yet
  size_t width_on_screen_ = 0;
};

}  // namespace t2i
