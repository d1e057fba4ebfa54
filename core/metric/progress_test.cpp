#include "core/metric/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

using namespace t2i;
using testing::HasSubstr;
using testing::Not;

namespace {

struct HandClock : Clock {
  double now = 1000;
  double seconds() override { return now; }
};

ProgressView full() {
  ProgressView view;
  view.step = 1200, view.total = 4000;
  view.loss = 0.04123, view.loss_average = 0.0437, view.lr = 9.8e-5;
  view.steps_per_second = 3.4, view.images_per_second = 13.6;
  view.memory_bytes = 21300000000, view.memory_limit_bytes = 24000000000;
  view.data_share = 0.02, view.seconds_since_save = 250, view.seconds_left = 843;
  return view;
}

// Runs `use` on a Progress that writes to memory, and returns what it wrote.
template <class Use>
std::string written(bool terminal, int64_t total, HandClock& clock, Use use) {
  char* text = nullptr;
  size_t size = 0;
  std::FILE* out = open_memstream(&text, &size);
  Progress::Setup setup;
  setup.out = out, setup.terminal = terminal, setup.columns = 60, setup.total_steps = total;
  {
    Progress progress(setup, clock);
    use(progress);
  }
  std::fclose(out);
  std::unique_ptr<char, void (*)(void*)> owner(text, std::free);
  return std::string(text, size);
}

StepMetrics metrics(int64_t step, double loss) {
  StepMetrics m;
  m.step = step, m.loss = loss, m.lr = 1e-4;
  return m;
}

}  // namespace

TEST(FormatProgress, WholeLine) {
  EXPECT_EQ(format_progress(full(), 0),
            "step 1200/4000 30% | loss 0.0412 (ema 0.0437) | lr 9.8e-5 | 3.4 it/s 13.6 img/s | 21.3/24 GB | data 2% | "
            "ckpt 4m ago | ETA 14:03");
}

TEST(FormatProgress, NarrowTerminalsKeepWhatMatters) {
  EXPECT_EQ(format_progress(full(), 80),
            "step 1200/4000 30% | loss 0.0412 (ema 0.0437) | 3.4 it/s 13.6 img/s | ETA 14:03");
  EXPECT_EQ(format_progress(full(), 30), "step 1200/4000 30%");
  EXPECT_EQ(format_progress(full(), 4), "step");
  for (int columns = 1; columns < 130; ++columns) EXPECT_LE(format_progress(full(), columns).size(), size_t(columns));
}

TEST(FormatProgress, UnknownThingsAreLeftOut) {
  ProgressView view;
  view.step = 7;
  EXPECT_EQ(format_progress(view, 80), "step 7");
  view.total = 10, view.steps_per_second = 0.25;
  EXPECT_EQ(format_progress(view, 80), "step 7/10 70% | 4.0 s/it");
}

TEST(FormatProgress, TimeLeft) {
  EXPECT_EQ(format_seconds_left(0), "0:00");
  EXPECT_EQ(format_seconds_left(843), "14:03");
  EXPECT_EQ(format_seconds_left(7443), "2:04:03");
  EXPECT_EQ(format_seconds_left(180000), "2d 2h");
  EXPECT_EQ(format_seconds_left(-5), "0:00");
}

TEST(Progress, EstimateLeavesWarmUpAndPausesOut) {
  HandClock clock;
  std::string text = written(false, 100, clock, [&](Progress& progress) {
    for (int step = 1; step <= 4; ++step) clock.now += 60, progress.step_done(step, 4);  // slow: warm-up
    for (int step = 5; step <= 20; ++step) {
      if (step == 10) progress.pause(), clock.now += 500;  // a validation
      clock.now += 2;
      progress.step_done(step, 4);
    }
    progress.metrics(metrics(20, 0.5));
  });
  EXPECT_THAT(text, HasSubstr("2.0 s/it 2.0 img/s"));
  EXPECT_THAT(text, HasSubstr("ETA 2:40\n"));  // 80 steps of 2 s
}

TEST(Progress, PlainOutputIsLinesNowAndThen) {
  HandClock clock;
  std::string text = written(false, 1000, clock, [&](Progress& progress) {
    for (int step = 1; step <= 100; ++step) clock.now += 1, progress.step_done(step, 1);
  });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);  // every 30 s
  EXPECT_THAT(text, Not(HasSubstr("\r")));
  text = written(false, 1000, clock, [&](Progress& progress) {
    for (int step = 1; step <= 100; ++step)
      clock.now += 0.1, progress.step_done(step, 1), progress.metrics(metrics(step, 1));
  });
  EXPECT_THAT(text, testing::StartsWith("step 1/1000 0% | loss 1.0000"));  // the first at once, then every 5 s
  EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 3);
}

TEST(Progress, TerminalRewritesOneLine) {
  HandClock clock;
  std::string text = written(true, 10, clock, [&](Progress& progress) {
    for (int step = 1; step <= 10; ++step) clock.now += 1, progress.step_done(step, 1);
    progress.note("a word\x1b[31m");
  });
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);  // the note's and the last
  EXPECT_THAT(text, HasSubstr("a word?[31m\n"));
  EXPECT_THAT(text, HasSubstr("\rstep 10/10 100%"));
}

TEST(TerminalColumns, EnvironmentWins) {
  setenv("COLUMNS", "123", 1);
  EXPECT_EQ(terminal_columns(0), 123);
  setenv("COLUMNS", "wide", 1);
  EXPECT_GT(terminal_columns(-1), 0);
  unsetenv("COLUMNS");
}
