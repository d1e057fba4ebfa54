#include "core/metric/job_progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/error.h"
#include "core/base/number_text.h"
#include "core/metric/progress.h"

namespace t2i {
namespace {

constexpr double quiet_seconds = 1;           // what takes no longer is not worth a line
constexpr double terminal_gap_seconds = 0.1;  // not faster than the eye
constexpr double plain_gap_seconds = 30;

std::string amount(const JobView& v) {
  if (v.bytes) return fmt::format("{} of {}", bytes_text(static_cast<uint64_t>(v.done)), bytes_text(static_cast<uint64_t>(v.total)));
  return fmt::format("{:.0f}/{:.0f}", std::floor(v.done), v.total);
}

std::string speed(const JobView& v) {
  if (v.bytes) return bytes_text(static_cast<uint64_t>(v.per_second)) + "/s";
  return v.per_second >= 1 ? fmt::format("{:.1f}/s", v.per_second) : fmt::format("{:.1f} s each", 1 / v.per_second);
}

}  // namespace

std::string format_job(const JobView& v, int columns) {
  std::string head = fmt::format("{} {}", v.what, amount(v));
  if (v.total > 0) head += fmt::format(" {:.0f}%", std::floor(100 * std::clamp(v.done / v.total, 0.0, 1.0)));
  // What is dropped first stands last.
  std::vector<std::string> parts;
  if (v.seconds_left >= 0) parts.push_back("ETA " + format_seconds_left(v.seconds_left));
  if (v.per_second > 0) parts.push_back(speed(v));
  if (!v.detail.empty()) parts.push_back(v.detail);
  std::string line;
  do {
    line = head;
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) line += " | " + *part;
    if (columns <= 0 || line.size() <= static_cast<size_t>(columns) || parts.empty()) break;
    parts.pop_back();
  } while (true);
  if (columns > 0 && line.size() > static_cast<size_t>(columns)) line.resize(static_cast<size_t>(columns));
  return line;
}

JobProgress::Setup JobProgress::on_stderr() {
  Setup setup;
  setup.terminal = isatty(fileno(stderr)) == 1;
  setup.columns = terminal_columns(fileno(stderr));
  return setup;
}

JobProgress::JobProgress(Setup setup, Clock& clock) : setup_(setup), clock_(clock) {}

JobProgress::~JobProgress() {
  clear();
  if (file_progress() == this) file_progress() = nullptr;
}

void JobProgress::clear() {
  if (on_screen_) std::fprintf(setup_.out, "\r\x1b[K"), std::fflush(setup_.out);
  on_screen_ = false;
}

void JobProgress::update(const std::string& what, double done, double total, const std::string& detail, bool bytes) {
  if (setup_.silent) return;
  const double now = clock_.seconds();
  if (!begun_ || what != view_.what) {
    clear();
    view_ = {}, view_.what = what;
    began_at_ = shown_at_ = now, began_with_ = done, begun_ = true;
  }
  view_.done = done, view_.total = total, view_.detail = detail, view_.bytes = bytes;
  const double spent = now - began_at_, made = done - began_with_;
  if (spent > 0 && made > 0) {
    view_.per_second = made / spent;
    view_.seconds_left = std::max(0.0, total - done) / view_.per_second;
  }
  if (done >= total && setup_.terminal) return begun_ = false, clear();
  if (spent < quiet_seconds || now - shown_at_ < (setup_.terminal ? terminal_gap_seconds : plain_gap_seconds)) return;
  shown_at_ = now;
  if (!setup_.terminal) {
    std::fprintf(setup_.out, "%s\n", printable(format_job(view_, 0)).c_str());
  } else {
    std::fprintf(setup_.out, "\r\x1b[K%s", printable(format_job(view_, std::max(1, setup_.columns - 1))).c_str());
    on_screen_ = true;
  }
  std::fflush(setup_.out);
}

void JobProgress::moved(const char* doing, const std::string& name, uint64_t done, uint64_t total) {
  update(fmt::format("{} {}", doing, name), static_cast<double>(done), static_cast<double>(total), "", true);
}

}  // namespace t2i
