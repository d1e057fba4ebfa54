// How far a long job is that is no training: "decoding 1,200 of 10,000 (12 %) | 340/s | 0:26 left". One line that rewrites
// itself on a terminal, now and then a plain line elsewhere; nothing for a job that is done before anybody would look.
#pragma once
#include <cstdint>
#include <cstdio>
#include <string>

#include "core/metric/clock.h"

namespace t2i {

class JobBar {
 public:
  // `what` is being done `total` times; shown on `out`.
  JobBar(std::string what, uint64_t total, std::FILE* out = stderr, Clock& clock = real_clock());
  JobBar(std::string what, uint64_t total, std::FILE* out, bool terminal, Clock& clock);
  ~JobBar();  // the line is cleared: what came of the job says more
  JobBar(const JobBar&) = delete;
  JobBar& operator=(const JobBar&) = delete;

  void done(uint64_t count);  // so many by now; shows it when it is time

 private:
  void show(uint64_t count, double seconds);

  std::string what_;
  uint64_t total_;
  std::FILE* out_;
  bool terminal_;
  Clock& clock_;
  double began_, shown_;
  size_t width_on_screen_ = 0;
};

// The line itself, at most `columns` wide (0: no limit). Pure.
std::string format_job(const std::string& what, uint64_t count, uint64_t total, double seconds, int columns);

}  // namespace t2i
