#include "core/metric/job_bar.h"

#include <gtest/gtest.h>
#include <stdlib.h>

using namespace t2i;

namespace {

struct Hand : Clock {
  double now = 100;
  double seconds() override { return now; }
};

// What a bar writes while `job` runs.
template <class Job>
std::string written(bool terminal, Job job) {
  char* text = nullptr;
  size_t size = 0;
  std::FILE* out = ::open_memstream(&text, &size);
  Hand clock;
  {
    JobBar bar("decoding", 10000, out, terminal, clock);
    job(bar, clock);
  }
  std::fclose(out);
  std::string got(text, size);
  ::free(text);
  return got;
}

}  // namespace

TEST(JobBar, TheLine) {
  EXPECT_EQ(format_job("decoding", 1200, 10000, 3, 0), "decoding 1,200 of 10,000 (12 %) | 400/s | 0:22 left");
  EXPECT_EQ(format_job("decoding", 10000, 10000, 5000, 0), "decoding 10,000 of 10,000 (100 %) | 2.0/s");
  EXPECT_EQ(format_job("decoding", 0, 10000, 0, 0), "decoding 0 of 10,000 (0 %)");
  EXPECT_EQ(format_job("decoding", 1200, 10000, 3, 40), "decoding 1,200 of 10,000 (12 %)");
  EXPECT_EQ(format_job("decoding", 1200, 10000, 3, 12), "decoding 1,2");
}

TEST(JobBar, AQuickJobSaysNothing) {
  EXPECT_EQ(written(true, [](JobBar& bar, Hand& clock) { bar.done(5000), clock.now += 0.3, bar.done(10000); }), "");
}

TEST(JobBar, RewritesItsLineOnATerminalAndClearsIt) {
  std::string got = written(true, [](JobBar& bar, Hand& clock) {
    clock.now += 1, bar.done(1000);
    clock.now += 0.01, bar.done(1010);  // too soon
    clock.now += 1, bar.done(2000);
  });
  EXPECT_EQ(got.find("1,010"), got.npos);
  EXPECT_NE(got.find("\rdecoding 2,000 of 10,000"), got.npos);
  EXPECT_EQ(got.find('\n'), got.npos);
  EXPECT_TRUE(got.ends_with(" \r"));
}

TEST(JobBar, ElsewhereALineEveryHalfMinute) {
  std::string got = written(false, [](JobBar& bar, Hand& clock) {
    for (int second = 1; second <= 61; ++second) clock.now += 1, bar.done(static_cast<uint64_t>(second));
  });
  EXPECT_EQ(got, "decoding 30 of 10,000 (0 %) | 1.0/s | 2:46:10 left\ndecoding 60 of 10,000 (0 %) | 1.0/s | 2:45:40 left\n");
}
