// Training images of several sizes, all of one batch alike: which sizes there are, which of them a picture gets, and in
// which order batches come. A batch that a bucket cannot fill is filled with pictures of the same bucket, seen twice in
// that epoch: nothing is left out.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"

namespace t2i {

struct BucketSize {
  int width = 0, height = 0;  // pixels
  int area = 0;               // sizes of one area are alternatives; so are all that were named one by one (0)
  bool operator==(const BucketSize&) const = default;
};

struct BucketRules {
  std::vector<std::string> asked;  // data.buckets
  int64_t resolution = 512;        // of auto
  int64_t step = 64;
  double max_aspect = 2;
  int64_t place_px = 8;  // the model sees so many pixels a side as one place
};

// Every size that was asked for, by width, then height. E8080 with each word that cannot be read and each size that the
// model cannot have.
Result<std::vector<BucketSize>> bucket_sizes(const BucketRules& rules);

// The size for a picture of width × height: of each area the one nearest to its shape (by the logarithm of the ratio),
// of these the largest that needs no enlarging, else the smallest.
size_t bucket_of(const std::vector<BucketSize>& sizes, int width, int height);

// The order of an epoch's batches, and of the rows in them: a pure function of (seed, epoch). However many processes
// there are, the sequence of batches is the same; they take turns.
class BucketOrder {
 public:
  BucketOrder() = default;
  // `rows`: by bucket; empty buckets may be among them. `batch`: samples of one.
  BucketOrder(std::vector<std::vector<uint64_t>> rows, int64_t batch, uint64_t seed);

  bool empty() const { return batches_ == 0; }
  int64_t batches() const { return batches_; }  // of an epoch
  int64_t samples() const { return batches_ * batch_; }
  int64_t batches_of(size_t bucket) const;
  int64_t repeated(size_t bucket) const;  // samples that come a second time in an epoch

  // The rows of the run's batch number `number`.
  std::vector<uint64_t> rows_of(int64_t number) const;

 private:
  std::vector<std::vector<uint64_t>> rows_;
  std::vector<int64_t> first_batch_;  // of each bucket within an epoch, before it is shuffled
  int64_t batch_ = 1, batches_ = 0;
  uint64_t seed_ = 0;
};

}  // namespace t2i
