// metrics.jsonl as curves that stay small however long the run is.
//
// Steps fall into buckets of equal width, at first of one step each. When there would be more buckets than allowed the
// width doubles and neighbours are merged, so a million steps are some thousand buckets of minimum, mean and maximum,
// and what comes out depends on the values alone, not on when they were read. Lines are taken up once: a run that
// writes its report at every checkpoint reads only what is new.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/file.h"
#include "core/base/json.h"

namespace t2i {

class Curves {
 public:
  explicit Curves(int64_t most_points = 2048);

  // One line without its newline. What is no object with a whole `step` from 1 is counted as not read.
  void add_line(std::string_view line);

  // The lines that were appended since the last call; from the beginning again where the file has become shorter. A
  // last line without its newline waits for its rest. A file that is not there has no lines.
  void read(const Path& file);

  int64_t lines() const { return lines_; }
  int64_t unread_lines() const { return unread_; }
  bool unfinished_line() const { return unfinished_; }  // the file ended within a line
  int64_t last_step() const { return last_step_; }
  int64_t steps_per_point() const { return width_; }
  double last_epoch() const { return epochs_.empty() ? 0 : epochs_.back(); }

  // Sum over all steps of a series, 0 where there is none: "step_seconds".
  double sum(const std::string& name) const;
  // Mean of the series over the last `points` points that have a value; NaN where there is none.
  double recent(const std::string& name, size_t points) const;
  double greatest(const std::string& name) const;  // NaN where there is none

  // {steps_per_point, steps: [last step of each point], epochs, seconds: [time in steps so far],
  //  series: [{name, mean, low?, high?, missing: [[point, values that were no number]]}]}
  // low and high are left out while a point is one step. Numbers have nine digits, which is all that float32 has.
  Json to_json() const;

 private:
  struct Bucket {
    int64_t count = 0, missing = 0;
    double sum = 0, low = 0, high = 0;
    void add(double value);
    void merge(const Bucket& other);
  };
  void widen();
  Bucket& bucket_of(const std::string& name);

  int64_t most_points_, width_ = 1, last_step_ = 0, lines_ = 0, unread_ = 0;
  size_t points_ = 0;
  uint64_t offset_ = 0;
  bool unfinished_ = false;
  std::vector<double> epochs_;
  std::map<std::string, std::vector<Bucket>, std::less<>> series_;
  std::vector<std::string> order_;  // of the series, as they first came
};

}  // namespace t2i
