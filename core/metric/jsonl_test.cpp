#include "core/metric/jsonl.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

using namespace t2i;

namespace {
StepMetrics step(int64_t n) {
  StepMetrics m;
  m.step = n, m.loss = 1.0 / static_cast<double>(n), m.lr = 1e-4;
  return m;
}
std::string content(const Path& path) { return read_file(path).take(); }

struct MetricsFileTest : testing::Test {
  Path path = Path(testing::TempDir()) / ("metrics_" + random_hex(8) + ".jsonl");
  void TearDown() override { std::filesystem::remove(path); }
};
}  // namespace

TEST(MetricsLine, KeysInTheirOrder) {
  StepMetrics m = step(3);
  m.epoch = 0.5, m.loss = NAN, m.memory_bytes = int64_t{4} << 30, m.peak_memory_bytes = int64_t{5} << 30;
  m.extras = {{"grad/query", 2.0}};
  EXPECT_EQ(metrics_line(m),
            R"({"step":3,"epoch":0.5,"loss":null,"raw_loss":0.0,"lr":0.0001,"grad_norm":0.0,"step_seconds":0.0,)"
            R"("data_seconds":0.0,"images_per_second":0.0,"memory_bytes":4294967296,"peak_memory_bytes":5368709120,"grad/query":2.0})");
}

TEST_F(MetricsFileTest, ResumedEqualsUninterrupted) {
  {
    MetricsFile whole(path, 0);
    for (int64_t n = 1; n <= 9; ++n) whole.write(step(n));
  }
  std::string uninterrupted = content(path);
  {
    MetricsFile first(path, 0);
    for (int64_t n = 1; n <= 7; ++n) first.write(step(n));
  }
  std::ofstream(path, std::ios::app) << R"({"step":8,"epo)";  // killed in the middle of a line
  MetricsFile second(path, 5);
  for (int64_t n = 6; n <= 9; ++n) second.write(step(n));
  EXPECT_EQ(content(path), uninterrupted);
}

TEST_F(MetricsFileTest, FreshRunBeginsEmpty) {
  std::ofstream(path) << metrics_line(step(1)) << "\n";
  MetricsFile fresh(path, 0);
  EXPECT_EQ(content(path), "");
}

TEST(MetricsFile, FolderThatIsNotThere) { EXPECT_THROW(MetricsFile("/nowhere/metrics.jsonl", 0), Failure); }

TEST(MetricsKept, StopsAtTheFirstLineThatIsNone) {
  EXPECT_EQ(metrics_kept_bytes("{\"step\":1}\ngarbage\n{\"step\":2}\n", 9), 11u);
  EXPECT_EQ(metrics_kept_bytes("{\"step\":1}\n{\"step\":2}\n", 1), 11u);
  EXPECT_EQ(metrics_kept_bytes("", 1), 0u);
}
