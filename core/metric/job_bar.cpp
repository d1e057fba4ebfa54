#include "core/metric/job_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "core/metric/progress.h"

namespace t2i {
namespace {

constexpr double first_after = 0.5, terminal_gap = 0.1, plain_gap = 30;  // seconds

std::string grouped(uint64_t n) {
  std::string digits = std::to_string(n);
  for (auto at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

}  // namespace

std::string format_job(const std::string& what, uint64_t count, uint64_t total, double seconds, int columns) {
  std::string line = fmt::format("{} {} of {} ({} %)", what, grouped(count), grouped(total), total ? 100 * count / total : 100);
  const double speed = seconds > 0 ? static_cast<double>(count) / seconds : 0;
  std::string more;
  if (speed > 0) more = fmt::format(" | {}/s", speed >= 10 ? grouped(static_cast<uint64_t>(speed)) : fmt::format("{:.1f}", speed));
  if (speed > 0 && count < total) more += fmt::format(" | {} left", format_seconds_left(static_cast<double>(total - count) / speed));
  if (columns <= 0 || line.size() + more.size() <= static_cast<size_t>(columns)) line += more;
  if (columns > 0 && line.size() > static_cast<size_t>(columns)) line.resize(static_cast<size_t>(columns));
  return line;
}

JobBar::JobBar(std::string what, uint64_t total, std::FILE* out, Clock& clock)
    : JobBar(std::move(what), total, out, ::isatty(::fileno(out)) != 0, clock) {}

JobBar::JobBar(std::string what, uint64_t total, std::FILE* out, bool terminal, Clock& clock)
    : what_(std::move(what)), total_(total), out_(out), terminal_(terminal), clock_(clock), began_(clock.seconds()) {
  shown_ = terminal_ ? began_ - terminal_gap : began_;
}

JobBar::~JobBar() {
  if (width_on_screen_ == 0) return;
  std::fprintf(out_, "\r%*s\r", static_cast<int>(width_on_screen_), "");
  std::fflush(out_);
}

void JobBar::done(uint64_t count) {
  const double now = clock_.seconds();
  if (now - shown_ < (terminal_ ? terminal_gap : plain_gap) || now - began_ < first_after) return;
  shown_ = now;
  show(count, now - began_);
}

void JobBar::show(uint64_t count, double seconds) {
  const std::string line = format_job(what_, count, total_, seconds, terminal_ ? terminal_columns(::fileno(out_)) - 1 : 0);
  if (terminal_) {
    const size_t width = line.size();
    std::fprintf(out_, "\r%s%*s", line.c_str(), static_cast<int>(width < width_on_screen_ ? width_on_screen_ - width : 0), "");
    width_on_screen_ = std::max(width, width_on_screen_);
  } else {
    std::fprintf(out_, "%s\n", line.c_str());
  }
  std::fflush(out_);
}

}  // namespace t2i
