// events.jsonl in the run's folder: what a run said besides numbers, an object a line, appended and never rewritten, so
// that what an earlier attempt met is still known after the next. See docs/format-metrics.md.
#pragma once
#include <cstdint>
#include <string>

#include "core/base/file.h"
#include "core/metric/clock.h"

namespace t2i {

class RunEvents {
 public:
  // Opens or makes the file. Nothing here ever fails a run: what cannot be written is left out.
  explicit RunEvents(Path path, Clock& clock = real_clock());
  ~RunEvents();
  RunEvents(const RunEvents&) = delete;
  RunEvents& operator=(const RunEvents&) = delete;

  // `kind`: start, notice, warning, skipped, note, error, end.
  void write(const std::string& kind, int64_t step, const std::string& text);
  // An attempt begins after `step`, to end after `total`.
  void start(int64_t step, int64_t total, const std::string& version);

 private:
  void line(const std::string& text);

  Clock& clock_;
  int fd_ = -1;
};

// "notice: …" is a notice, "warning: …" a warning, "skipped: …" skipped; anything else a note. The word is cut off.
std::pair<std::string, std::string> kind_of_note(const std::string& line);

// "2026-11-22 08:03:36", UTC.
std::string utc_text(double wall_seconds);

}  // namespace t2i
