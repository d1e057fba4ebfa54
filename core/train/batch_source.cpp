#include "core/train/batch_source.h"

#include <ATen/ATen.h>

#include <chrono>

#include "core/base/rng.h"
#include "core/precision/device.h"

namespace t2i {

BatchSource::BatchSource(const Dataset& dataset, Loader& loader, Encoder& encoder, BatchPlan plan, at::Device device)
    : dataset_(dataset), loader_(loader), encoder_(encoder), plan_(plan), device_(device) {}

void BatchSource::start(int64_t step, int64_t samples_seen) {
  while (loader_.pending()) loader_.next();
  first_step_ = step, first_sample_ = samples_seen, asked_ = given_ = 0;
  waited_seconds = 0;
}

// Number of the run's sample that row `i` of this process has in micro-batch `number`.
static int64_t position(const BatchPlan& plan, int64_t first_sample, int64_t number, int64_t i) {
  return first_sample + (number * plan.world + plan.rank) * plan.per_process + i;
}

void BatchSource::request() {
  uint64_t rows = dataset_.rows.size();
  std::vector<Draw> draws;
  std::vector<uint64_t> in_bucket;
  if (!plan_.buckets.empty()) in_bucket = plan_.buckets.rows_of(position(plan_, first_sample_, asked_, 0) / plan_.per_process);
  for (int64_t i = 0; i < plan_.per_process; ++i) {
    uint64_t at = static_cast<uint64_t>(position(plan_, first_sample_, asked_, i));
    uint64_t step = static_cast<uint64_t>(first_step_ + asked_ / plan_.micro_steps);
    const uint64_t row = in_bucket.empty() ? permuted(at % rows, rows, plan_.seed, at / rows) : in_bucket[static_cast<size_t>(i)];
    draws.push_back({row, {plan_.seed, step, at, 0}});
  }
  loader_.request(std::move(draws));
  ++asked_;
}

Tensors BatchSource::next() {
  constexpr int64_t ahead = 3;
  while (asked_ < given_ + ahead) request();
  auto before = std::chrono::steady_clock::now();
  std::vector<Sample> samples = loader_.next();
  waited_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count();
  last_samples.clear();
  at::Tensor rng = at::empty({plan_.per_process, 3}, at::kLong);
  auto key = rng.accessor<int64_t, 2>();
  for (int64_t i = 0; i < plan_.per_process; ++i) {
    last_samples.push_back(samples[static_cast<size_t>(i)].where);
    key[i][0] = static_cast<int64_t>(plan_.seed);
    key[i][1] = first_step_ + given_ / plan_.micro_steps;
    key[i][2] = position(plan_, first_sample_, given_, i);
  }
  ++given_;
  return encoder_.encode(samples, to_device(rng, device_));
}

}  // namespace t2i
