// metrics.jsonl: an object per step, a line per object, appended and never rewritten. See docs/format-metrics.md.
#pragma once
#include <cstdint>
#include <string>

#include "core/base/file.h"
#include "core/metric/step_metrics.h"

namespace t2i {

class MetricsFile {
 public:
  // Opens or makes the file. Lines of steps after `resumed_step` (0 for a fresh run) are cut off, and so is a last line
  // that a crash left unfinished: what follows continues as if nothing had happened. Throws Failure (E4102).
  MetricsFile(Path path, int64_t resumed_step);
  ~MetricsFile();
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;

  // The line is with the operating system when this returns, so a killed process loses none. Throws E4101, E4102.
  void write(const StepMetrics& metrics);

 private:
  Path path_;
  int fd_ = -1;
};

// The line without its newline. Numbers that JSON does not have (nan, inf) become null.
std::string metrics_line(const StepMetrics& metrics);

// How many bytes of `text` are whole lines of steps up to `step`.
size_t metrics_kept_bytes(const std::string& text, int64_t step);

}  // namespace t2i
