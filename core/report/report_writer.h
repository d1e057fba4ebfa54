// Writes a run's report.html beside the training, in a thread of its own at low priority.
#pragma once
#include <memory>
#include <string>

#include "core/base/file.h"

namespace t2i {

class ReportWriter {
 public:
  // Removes what a killed run left half-written: the caller holds the run's lock.
  explicit ReportWriter(const Path& run);
  ~ReportWriter();  // waits for a page that is being written
  ReportWriter(const ReportWriter&) = delete;
  ReportWriter& operator=(const ReportWriter&) = delete;

  // Returns at once; the page is written as soon as the last one is. Asking twice meanwhile is asking once.
  void ask();
  // The last page, with what became of the run (RunFolder::status), written when this returns; false where it is not.
  bool finish(const std::string& status);
  // Why the first page that could not be written was not; said once, else empty.
  std::string problem();

  const Path& file() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace t2i
