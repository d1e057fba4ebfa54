#include "core/metric/job_progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "core/metric/progress.h"

namespace t2i {
namespace {

constexpr double terminal_gap_seconds = 0.1, plain_gap_seconds = 30;

}  // namespace

std::string format_job(const std::string& what, int64_t done, int64_t total, int64_t done_before, double seconds) {
  std::string line = fmt::format("{} {}/{} {}%", what, done, total, total > 0 ? 100 * std::min(done, total) / total : 100);
  const int64_t now = done - done_before;
  if (now <= 0 || seconds <= 0) return line;
  const double rate = static_cast<double>(now) / seconds;
  line += rate >= 1 ? fmt::format(" | {:.1f}/s", rate) : fmt::format(" | {:.1f} s each", 1 / rate);
  if (done < total) line += " | ETA " + format_seconds_left(static_cast<double>(total - done) / rate);
  return line;
}

JobProgress::JobProgress(std::string what, int64_t total, int64_t done_before, bool silent, std::FILE* out, Clock& clock)
    : what_(std::move(what)),
      total_(total),
      before_(done_before),
      out_(silent ? nullptr : out),
      terminal_(out_ && isatty(fileno(out_))),
      clock_(clock),
      began_(clock.seconds()),
      shown_at_(began_) {}

JobProgress::~JobProgress() {
  if (on_screen_) std::fputc('\n', out_), std::fflush(out_);
}

void JobProgress::done(int64_t count) {
  if (!out_) return;
  const double now = clock_.seconds();
  if (now - shown_at_ < (terminal_ ? terminal_gap_seconds : plain_gap_seconds) && !(terminal_ && count >= total_)) return;
  shown_at_ = now;
  std::string line = format_job(what_, count, total_, before_, now - began_);
  if (!terminal_) {
    std::fprintf(out_, "%s\n", line.c_str());
  } else {
    line.resize(std::min(line.size(), static_cast<size_t>(std::max(1, terminal_columns(fileno(out_)) - 1))));
    const size_t width = line.size();
    if (width < on_screen_) line.append(on_screen_ - width, ' ');
    std::fprintf(out_, "\r%s", line.c_str());
    on_screen_ = std::max<size_t>(width, 1);
  }
  std::fflush(out_);
}

}  // namespace t2i
