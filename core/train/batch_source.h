// The run's endless sequence of micro-batches: position → row by the epoch's permutation, loaded ahead, encoded, with
// the keys of its draws. A pure function of (seed, position): no rank, thread or interruption can change it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/data/bucket.h"
#include "core/data/loader.h"
#include "core/train/batch.h"

namespace t2i {

struct BatchPlan {
  uint64_t seed = 0;
  int64_t per_process = 1;    // train.train_batch_size
  int64_t micro_steps = 1;    // train.gradient_accumulation_steps
  int rank = 0, world = 1;
  int64_t per_step() const { return per_process * micro_steps * world; }  // samples of one optimizer step
  BucketOrder buckets{};  // empty: rows of all sizes are one permutation
};

class BatchSource {
 public:
  BatchSource(const Dataset& dataset, Loader& loader, Encoder& encoder, BatchPlan plan, at::Device device);

  // From optimizer step `step`, whose first sample is number `samples_seen` of the run.
  void start(int64_t step, int64_t samples_seen);

  // The next micro-batch; asks the loader for those after it.
  Tensors next();

  double waited_seconds = 0;              // for the loader, since start()
  std::vector<std::string> last_samples;  // where the rows of the last micro-batch came from

 private:
  void request();
  const Dataset& dataset_;
  Loader& loader_;
  Encoder& encoder_;
  BatchPlan plan_;
  at::Device device_;
  int64_t first_step_ = 0, first_sample_ = 0;
  int64_t asked_ = 0, given_ = 0;  // micro-batches since start()
};

}  // namespace t2i
