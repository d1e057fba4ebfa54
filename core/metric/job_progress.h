// How far a job other than training is: one line that rewrites itself on a terminal, a plain line every half minute
// elsewhere.
#pragma once
#include <cstdint>
#include <cstdio>
#include <string>

#include "core/metric/clock.h"

namespace t2i {

// "caching latents 120/400 30% | 12.3/s | ETA 0:23". `done_before` of the total were done before `seconds` began. Pure.
std::string format_job(const std::string& what, int64_t done, int64_t total, int64_t done_before, double seconds);

class JobProgress {
 public:
  // `silent`: nothing is shown, as of all processes but one.
  JobProgress(std::string what, int64_t total, int64_t done_before = 0, bool silent = false, std::FILE* out = stderr,
              Clock& clock = real_clock());
  ~JobProgress();  // leaves the cursor on a new line
  JobProgress(const JobProgress&) = delete;
  JobProgress& operator=(const JobProgress&) = delete;

  void done(int64_t count);  // so many of the total, those before included

 private:
  const std::string what_;
  const int64_t total_, before_;
  std::FILE* out_;  // null: silent
  bool terminal_;
  Clock& clock_;
  double began_, shown_at_;
  size_t on_screen_ = 0;
};

}  // namespace t2i
