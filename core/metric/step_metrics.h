// What is known of one step once its numbers have left the device.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace t2i {

struct StepMetrics {
  int64_t step = 0;     // updates done, from 1
  double epoch = 0;     // passes over the data, with fraction
  double loss = 0;      // what was minimised
  double raw_loss = 0;  // the same without the objective's weights
  double lr = 0;
  double grad_norm = 0;  // before clipping
  double step_seconds = 0;
  double data_seconds = 0;  // of them, waiting for data
  double images_per_second = 0;
  int64_t memory_bytes = 0;       // in use when the step's numbers were read: resident, or of a GPU handed out
  int64_t peak_memory_bytes = 0;  // the most of that so far
  std::vector<std::pair<std::string, double>> extras;  // further scalars by name, "grad/attention"
};

}  // namespace t2i
