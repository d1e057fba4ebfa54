#include "core/data/bucket.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace t2i {
namespace {

BucketRules rules(std::vector<std::string> asked) {
  BucketRules r;
  r.asked = std::move(asked);
  return r;
}

TEST(Bucket, AutoSizesAreWithinTheAreaTheStepAndTheAspect) {
  auto sizes = bucket_sizes(rules({"auto"})).take();
  ASSERT_GT(sizes.size(), 4u);
  for (const BucketSize& s : sizes) {
    EXPECT_EQ(s.width % 64, 0);
    EXPECT_EQ(s.height % 64, 0);
    EXPECT_LE(s.width * s.height, 512 * 512);
    EXPECT_LE(std::max(s.width, s.height), 2 * std::min(s.width, s.height));
    EXPECT_EQ(std::ranges::count(sizes, BucketSize{s.height, s.width, 512}), 1) << "both ways up";
  }
  EXPECT_EQ(std::ranges::count(sizes, BucketSize{512, 512, 512}), 1);
}

TEST(Bucket, WordsThatAreNoSizesAreNamedTogether) {
  auto sizes = bucket_sizes(rules({"500x512", "wide", "auto:32"}));
  ASSERT_FALSE(sizes);
  for (const char* part : {"500x512 is not of multiples of 8", "'wide' is no size", "32 is smaller than"})
    EXPECT_NE(sizes.error().what.find(part), std::string::npos) << sizes.error().what;
  EXPECT_EQ(sizes.error().id, "E8080");
}

TEST(Bucket, APictureGetsTheNearestShapeAndTheLargestAreaWithoutEnlarging) {
  auto sizes = bucket_sizes(rules({"auto:256", "auto:512", "auto:1024"})).take();
  auto of = [&](int w, int h) { return sizes[bucket_of(sizes, w, h)]; };
  EXPECT_EQ(of(600, 600), (BucketSize{512, 512, 512}));
  EXPECT_EQ(of(4000, 4000), (BucketSize{1024, 1024, 1024}));
  EXPECT_EQ(of(100, 100), (BucketSize{256, 256, 256}));
  EXPECT_GT(of(1920, 1080).width, of(1920, 1080).height);
  EXPECT_LT(of(1080, 1920).width, of(1080, 1920).height);
}

TEST(Bucket, AnEpochHasEveryRowAndRepeatsOnlyToFillBatches) {
  BucketOrder order({{0, 1, 2, 3, 4}, {}, {10}, {20, 21, 22, 23}}, 4, 7);
  EXPECT_EQ(order.batches(), 2 + 0 + 1 + 1);
  EXPECT_EQ(order.repeated(0), 3);
  EXPECT_EQ(order.repeated(2), 3);
  EXPECT_EQ(order.repeated(3), 0);
  for (int64_t epoch = 0; epoch < 5; ++epoch) {
    std::map<uint64_t, int> seen;
    for (int64_t b = 0; b < order.batches(); ++b) {
      auto rows = order.rows_of(epoch * order.batches() + b);
      ASSERT_EQ(rows.size(), 4u);
      for (uint64_t row : rows) {
        EXPECT_EQ(row / 10, rows[0] / 10) << "one bucket a batch";
        ++seen[row];
      }
    }
    EXPECT_EQ(seen.size(), 10u);
    EXPECT_EQ(seen[10], 4);
    for (uint64_t row : {20, 21, 22, 23}) EXPECT_EQ(seen[row], 1);
  }
  std::vector<std::vector<uint64_t>> first, second;
  for (int64_t b = 0; b < order.batches(); ++b) first.push_back(order.rows_of(b)), second.push_back(order.rows_of(order.batches() + b));
  EXPECT_NE(first, second) << "epochs differ";
}

}  // namespace
}  // namespace t2i
