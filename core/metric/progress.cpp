#include "core/metric/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "core/base/error.h"

namespace t2i {
namespace {

constexpr int64_t warm_up_steps = 3;          // allocation and tuning; they would spoil the estimate
constexpr double smoothing = 0.05;            // a new step's weight in the averages
constexpr double terminal_gap_seconds = 0.1;  // not faster than the eye
constexpr double plain_gap_seconds = 30;      // without numbers; with numbers:
constexpr double plain_metrics_gap_seconds = 5;

struct Part {
  std::string text;
  int rank;  // 0 stays longest
};

std::string short_number(double x) {
  std::string text = fmt::format("{:.2g}", x);
  size_t zero = text.find("e-0");  // 9.8e-05 → 9.8e-5
  if (zero != std::string::npos) text.erase(zero + 2, 1);
  return text;
}

std::string ago(double seconds) {
  if (seconds < 60) return fmt::format("{:.0f}s", seconds);
  if (seconds < 3600) return fmt::format("{:.0f}m", std::floor(seconds / 60));
  return fmt::format("{:.0f}h", std::floor(seconds / 3600));
}

std::string speed(const ProgressView& view) {
  std::string text = *view.steps_per_second >= 1 ? fmt::format("{:.1f} it/s", *view.steps_per_second)
                                                 : fmt::format("{:.1f} s/it", 1 / *view.steps_per_second);
  if (view.images_per_second) text += fmt::format(" {:.1f} img/s", *view.images_per_second);
  return text;
}

std::string memory(const ProgressView& view) {
  std::string used = fmt::format("{:.1f}", static_cast<double>(view.memory_bytes) / 1e9);
  return view.memory_limit_bytes > 0
             ? fmt::format("{}/{:.0f} GB", used, static_cast<double>(view.memory_limit_bytes) / 1e9)
             : used + " GB";
}

}  // namespace

std::string format_seconds_left(double seconds) {
  auto whole = static_cast<int64_t>(std::ceil(std::clamp(seconds, 0.0, 1e15)));
  if (whole >= 2 * 86400) return fmt::format("{}d {}h", whole / 86400, whole % 86400 / 3600);
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole % 3600 / 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

std::string format_progress(const ProgressView& view, int columns) {
  std::vector<Part> parts;
  std::string head = fmt::format("step {}", view.step);
  if (view.total > 0) head += fmt::format("/{} {}%", view.total, 100 * std::min(view.step, view.total) / view.total);
  parts.push_back({head, 0});
  if (view.loss) {
    std::string loss = fmt::format("loss {:.4f}", *view.loss);
    parts.push_back({view.loss_average ? fmt::format("{} (ema {:.4f})", loss, *view.loss_average) : loss, 1});
  }
  if (view.lr) parts.push_back({"lr " + short_number(*view.lr), 5});
  if (view.steps_per_second && *view.steps_per_second > 0) parts.push_back({speed(view), 3});
  if (view.memory_bytes > 0) parts.push_back({memory(view), 4});
  if (view.data_share) parts.push_back({fmt::format("data {:.0f}%", 100 * std::clamp(*view.data_share, 0.0, 1.0)), 7});
  if (view.seconds_since_save)
    parts.push_back({fmt::format("ckpt {} ago", ago(std::max(0.0, *view.seconds_since_save))), 6});
  if (view.seconds_left) parts.push_back({"ETA " + format_seconds_left(*view.seconds_left), 2});

  auto join = [&parts] {
    std::string line;
    for (const Part& part : parts) line += (line.empty() ? "" : " | ") + part.text;
    return line;
  };
  std::string line = join();
  while (columns > 0 && line.size() > static_cast<size_t>(columns) && parts.size() > 1) {
    parts.erase(
        std::max_element(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.rank < b.rank; }));
    line = join();
  }
  if (columns > 0 && line.size() > static_cast<size_t>(columns)) line.resize(static_cast<size_t>(columns));
  return line;
}

int terminal_columns(int fd) {
  if (const char* said = std::getenv("COLUMNS"))
    if (int columns = std::atoi(said); columns > 0) return columns;
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

Progress::Progress(const Setup& setup, Clock& clock) : setup_(setup), clock_(clock) {
  view_.step = setup.first_step, view_.total = setup.total_steps;
  view_.memory_limit_bytes = setup.memory_limit_bytes;
  last_step_at_ = last_shown_at_ = clock_.seconds();
}

Progress::~Progress() {
  if (width_on_screen_ > 0) std::fputc('\n', setup_.out), std::fflush(setup_.out);
}

void Progress::step_done(int64_t step, int64_t images) {
  double now = clock_.seconds(), spent = now - last_step_at_;
  last_step_at_ = now;
  view_.step = step;
  if (!paused_ && ++skipped_steps_ > warm_up_steps) {
    ++timed_steps_;
    // The first steps weigh as in a plain mean, so that the estimate is good at once.
    double weight = std::max(smoothing, 1.0 / static_cast<double>(timed_steps_));
    average_step_seconds_ += weight * (spent - average_step_seconds_);
    average_images_ += weight * (static_cast<double>(images) - average_images_);
  }
  paused_ = false;
  if (average_step_seconds_ > 0) {
    view_.steps_per_second = 1 / average_step_seconds_;
    view_.images_per_second = average_images_ / average_step_seconds_;
    if (view_.total > 0)
      view_.seconds_left = static_cast<double>(std::max<int64_t>(0, view_.total - step)) * average_step_seconds_;
  }
  double gap = setup_.terminal ? terminal_gap_seconds : plain_gap_seconds;
  if (now - last_shown_at_ >= gap || (setup_.terminal && step == view_.total)) show(false);
}

void Progress::metrics(const StepMetrics& m) {
  view_.loss = m.loss;
  if (std::isfinite(m.loss))
    view_.loss_average = view_.loss_average ? *view_.loss_average + smoothing * (m.loss - *view_.loss_average) : m.loss;
  view_.lr = m.lr;
  view_.memory_bytes = m.peak_memory_bytes;
  if (m.step_seconds > 0) view_.data_share = m.data_seconds / m.step_seconds;
  bool ends = m.step <= setup_.first_step + 1 || m.step == view_.total;
  if (setup_.terminal || ends || clock_.seconds() - last_shown_at_ >= plain_metrics_gap_seconds) show(true);
}

void Progress::saved() { saved_at_ = clock_.seconds(); }

void Progress::pause() { paused_ = true; }

void Progress::show(bool forced) {
  double now = clock_.seconds();
  if (saved_at_ >= 0) view_.seconds_since_save = now - saved_at_;
  last_shown_at_ = now;
  if (!setup_.terminal) {
    if (forced || view_.loss || view_.step > setup_.first_step)
      std::fprintf(setup_.out, "%s\n", format_progress(view_, 0).c_str()), std::fflush(setup_.out);
    return;
  }
  // One column less: a full line makes some terminals wrap.
  std::string line = format_progress(view_, std::max(1, setup_.columns - 1));
  size_t width = line.size();
  if (width < width_on_screen_) line.append(width_on_screen_ - width, ' ');
  std::fprintf(setup_.out, "\r%s", line.c_str());
  std::fflush(setup_.out);
  width_on_screen_ = std::max<size_t>(width, 1);
}

void Progress::note(const std::string& text) {
  if (width_on_screen_ > 0) std::fprintf(setup_.out, "\r%s\r", std::string(width_on_screen_, ' ').c_str());
  std::fprintf(setup_.out, "%s\n", printable(text).c_str());
  std::fflush(setup_.out);
  if (width_on_screen_ > 0) width_on_screen_ = 0, show(true);
}

}  // namespace t2i
