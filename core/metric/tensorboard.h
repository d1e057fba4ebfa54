// TensorBoard event files: scalars and images, as every tracker reads them.
//
// A file is a row of records: length (8 bytes, little-endian), masked CRC-32C of those bytes, a protobuf Event, masked
// CRC-32C of it. The few fields needed are encoded here by hand; docs/format-metrics.md lists them.
#pragma once
#include <cstdint>
#include <string>

#include "core/base/file.h"
#include "core/metric/clock.h"
#include "core/metric/step_metrics.h"

namespace t2i {

class EventFile {
 public:
  // Makes a new file in `folder` (and the folder). On resuming, TensorBoard is told to forget what other files of the
  // folder say about steps after `resumed_step`. Throws Failure (E4101, E4102).
  EventFile(const Path& folder, int64_t resumed_step, Clock& clock = real_clock());
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  void scalar(const std::string& tag, int64_t step, double value);
  void image(const std::string& tag, int64_t step, int64_t width, int64_t height, Bytes png);
  // loss, raw_loss, lr, grad_norm, images_per_second, memory_bytes, peak_memory_bytes and the extras, under "train/".
  void metrics(const StepMetrics& metrics);

  const Path& path() const { return path_; }

 private:
  void record(const std::string& event);

  Clock& clock_;
  Path path_;
  int fd_ = -1;
};

}  // namespace t2i
