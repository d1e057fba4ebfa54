#include "core/metric/job_progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>

using namespace t2i;
using testing::HasSubstr;
using testing::Not;

namespace {

struct HandClock : Clock {
  double now = 1000;
  double seconds() override { return now; }
};

template <class Use>
std::string written(bool terminal, HandClock& clock, Use use, bool silent = false) {
  char* text = nullptr;
  size_t size = 0;
  std::FILE* out = open_memstream(&text, &size);
  {
    JobProgress progress({out, terminal, 60, silent}, clock);
    use(progress);
  }
  std::fclose(out);
  std::unique_ptr<char, void (*)(void*)> owner(text, std::free);
  return std::string(text, size);
}

}  // namespace

TEST(FormatJob, PiecesAndBytes) {
  EXPECT_EQ(format_job({"drawing", 3.24, 40, false, "step 12 of 50", 0.5, 77}, 0), "drawing 3/40 8% | step 12 of 50 | 2.0 s each | ETA 1:17");
  EXPECT_EQ(format_job({"reading unet", 3.2e9, 6.4e9, true, "", 1.6e9, 2}, 0), "reading unet 3.2 GB of 6.4 GB 50% | 1.6 GB/s | ETA 0:02");
  EXPECT_EQ(format_job({"drawing", 0, 40}, 0), "drawing 0/40 0%");
}

TEST(FormatJob, NarrowTerminalsKeepTheTimeLeft) {
  JobView view{"drawing", 3, 40, false, "step 12 of 50", 0.5, 77};
  EXPECT_EQ(format_job(view, 45), "drawing 3/40 7% | 2.0 s each | ETA 1:17");
  EXPECT_EQ(format_job(view, 30), "drawing 3/40 7% | ETA 1:17");
  for (int columns = 1; columns < 80; ++columns) EXPECT_LE(format_job(view, columns).size(), size_t(columns));
}

TEST(JobProgress, ShortWorkIsNotShown) {
  HandClock clock;
  EXPECT_EQ(written(true, clock, [&](JobProgress& p) {
              for (int i = 0; i <= 9; ++i) clock.now += 0.09, p.update("reading", i, 9);
            }), "");
}

TEST(JobProgress, ALineThatRewritesItselfAndGoes) {
  HandClock clock;
  std::string text = written(true, clock, [&](JobProgress& p) {
    for (int i = 0; i <= 10; ++i) p.update("drawing", i, 10), clock.now += 2;
  });
  EXPECT_THAT(text, HasSubstr("\r\x1b[Kdrawing 5/10 50% | 2.0 s each | ETA 0:10"));
  EXPECT_THAT(text, Not(HasSubstr("10/10")));
  EXPECT_TRUE(text.ends_with("\r\x1b[K"));
}

TEST(JobProgress, WhatWasDoneBeforeSaysNothingOfTheSpeed) {
  HandClock clock;
  std::string text = written(true, clock, [&](JobProgress& p) {
    p.update("drawing", 30, 40), clock.now += 10, p.update("drawing", 31, 40);
  });
  EXPECT_THAT(text, HasSubstr("drawing 31/40 77% | 10.0 s each | ETA 1:30"));
}

TEST(JobProgress, PlainLinesNowAndThen) {
  HandClock clock;
  std::string text = written(false, clock, [&](JobProgress& p) {
    for (int i = 0; i <= 100; ++i) p.update("drawing", i, 100), clock.now += 1;
  });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
  EXPECT_THAT(text, HasSubstr("drawing 30/100 30% | 1.0/s | ETA 1:10\n"));
  EXPECT_EQ(written(false, clock, [&](JobProgress& p) { p.update("a", 0, 2), clock.now += 99, p.update("a", 1, 2); }, true), "");
}

TEST(JobProgress, FilesTellIt) {
  HandClock clock;
  std::string text = written(true, clock, [&](JobProgress& p) {
    tell_file_progress("reading", "unet", 0, 100);  // nobody listens yet
    p.watch_files();
    tell_file_progress("reading", "unet", 0, 4'000'000'000);
    clock.now += 2;
    tell_file_progress("reading", "unet", 1'000'000'000, 4'000'000'000);
    tell_file_progress("reading", "vae", 0, 100);
  });
  EXPECT_THAT(text, HasSubstr("reading unet 1.0 GB of 4.0 GB 25% | 500.0 MB/s | ETA 0:06"));
  EXPECT_EQ(file_progress(), nullptr) << "it is gone";
}
