#include "core/metric/run_events.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace t2i {
namespace {

struct Noon : Clock {
  double wall_seconds() override { return 1795348800; }  // 2026-11-22 12:00:00 UTC, by date -d
};

TEST(RunEvents, LinesAreAppendedByEveryAttempt) {
  Path file = Path(testing::TempDir()) / ("events-" + random_hex(8) + ".jsonl");
  Noon noon;
  { RunEvents(file, noon).start(0, 40, "0.1.0"); }
  { RunEvents(file, noon).write("warning", 7, "a \"quoted\" word\nand bytes \xff"); }
  std::istringstream lines(read_file(file).take());
  std::string first, second, none;
  std::getline(lines, first), std::getline(lines, second);
  EXPECT_FALSE(std::getline(lines, none));
  EXPECT_EQ(first, R"({"time":"2026-11-22 12:00:00","step":0,"kind":"start","total":40,"t2i":"0.1.0"})");
  auto event = nlohmann::json::parse(second);
  EXPECT_EQ(event["step"], 7);
  EXPECT_EQ(event["text"], "a \"quoted\" word\nand bytes \xef\xbf\xbd");
  std::filesystem::remove(file);
}

TEST(RunEvents, AFileThatCannotBeWrittenIsNoFailure) {
  RunEvents events("/nowhere/at/all/events.jsonl");
  events.write("note", 1, "x");
}

TEST(RunEvents, TheFirstWordTellsTheKind) {
  using Pair = std::pair<std::string, std::string>;
  EXPECT_EQ(kind_of_note("notice: a"), (Pair{"notice", "a"}));
  EXPECT_EQ(kind_of_note("warning: b: c"), (Pair{"warning", "b: c"}));
  EXPECT_EQ(kind_of_note("done: runs/x"), (Pair{"note", "done: runs/x"}));
}

}  // namespace
}  // namespace t2i
