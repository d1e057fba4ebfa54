// How far a job of countable pieces or bytes is, with the time that it will still take: one line that rewrites itself on a
// terminal, a plain line now and then elsewhere. Training has a line of its own (progress.h).
#pragma once
#include <cstdint>
#include <cstdio>
#include <string>

#include "core/base/file_progress.h"
#include "core/metric/clock.h"

namespace t2i {

struct JobView {
  std::string what;            // "drawing", "reading unet"
  double done = 0, total = 0;  // pieces, or bytes
  bool bytes = false;
  std::string detail = {};  // "step 12 of 50"
  double per_second = 0;
  double seconds_left = -1;  // below 0: not known
};

// "drawing 3/40 7% | step 12 of 50 | 2.1 s each | ETA 1:17", at most `columns` wide (0: no limit): details go first. Pure.
std::string format_job(const JobView& view, int columns);

class JobProgress final : public FileProgress {
 public:
  struct Setup {
    std::FILE* out = stderr;
    bool terminal = false;
    int columns = 80;
    bool silent = false;  // of the processes of a job all but the first
  };
  static Setup on_stderr();
  explicit JobProgress(Setup setup = on_stderr(), Clock& clock = real_clock());
  ~JobProgress();  // takes the line away, and itself from file_progress()
  JobProgress(const JobProgress&) = delete;
  JobProgress& operator=(const JobProgress&) = delete;

  // The state of the piece of work called `what`; another name begins another one. Prints when it is time, and nothing of
  // work that is over in a second.
  void update(const std::string& what, double done, double total, const std::string& detail = "", bool bytes = false);
  void clear();  // the line goes, because something else is to be printed
  void watch_files() { file_progress() = this; }
  void moved(const char* doing, const std::string& name, uint64_t done, uint64_t total) override;

 private:
  Setup setup_;
  Clock& clock_;
  JobView view_;
  double began_at_ = 0, began_with_ = 0, shown_at_ = 0;
  bool begun_ = false, on_screen_ = false;
};

}  // namespace t2i
