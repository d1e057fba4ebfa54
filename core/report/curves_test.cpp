#include "core/report/curves.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <random>

namespace t2i {
namespace {

std::string line_of(int64_t step, const std::string& loss) {
  return "{\"step\":" + std::to_string(step) + ",\"epoch\":" + std::to_string(static_cast<double>(step) / 8) + ",\"loss\":" + loss + ",\"step_seconds\":0.5}";
}

Json series(const Json& curves, const std::string& name) {
  for (const Json& s : curves["series"])
    if (s["name"] == name) return s;
  return {};
}

TEST(Curves, AShortRunIsShownAsItIs) {
  Curves curves(8);
  for (int64_t step = 1; step <= 5; ++step) curves.add_line(line_of(step, step == 3 ? "null" : "0." + std::to_string(step)));
  Json out = curves.to_json();
  EXPECT_EQ(out["steps_per_point"], 1);
  EXPECT_EQ(out["steps"], (Json{1, 2, 3, 4, 5}));
  EXPECT_EQ(out["seconds"], (Json{0.5, 1, 1.5, 2, 2.5}));
  EXPECT_EQ(series(out, "loss")["mean"], (Json{0.1, 0.2, nullptr, 0.4, 0.5}));
  EXPECT_EQ(series(out, "loss")["missing"], (Json{Json{2, 1}}));
  EXPECT_FALSE(series(out, "loss").contains("low"));
}

// Against the definition, over a number of steps that is no power of two, with gaps and values that are none.
TEST(Curves, ALongRunKeepsMinimumMeanAndMaximum) {
  constexpr int64_t points = 16, steps = 1003;
  std::mt19937 random(5);
  std::vector<double> values(steps + 1, std::numeric_limits<double>::quiet_NaN());
  Curves curves(points);
  for (int64_t step = 1; step <= steps; ++step) {
    if (step % 97 == 0) continue;
    const bool none = step % 10 == 7;
    const int64_t drawn = static_cast<int64_t>(random() % 1000);
    if (!none) values[static_cast<size_t>(step)] = static_cast<double>(drawn) / 4;
    curves.add_line(line_of(step, none ? "null" : std::to_string(static_cast<double>(drawn) / 4)));
  }
  Json out = curves.to_json();
  const int64_t width = out["steps_per_point"];
  EXPECT_EQ(width, 64);
  ASSERT_EQ(out["steps"].size(), 16u);
  EXPECT_EQ(out["steps"].back(), steps);
  const Json loss = series(out, "loss");
  int64_t missing = 0;
  for (const Json& m : loss["missing"]) missing += m[1].get<int64_t>();
  EXPECT_EQ(missing, 100 - 1);  // 1 … 1003 has 100 that end in 7, and 97 is left out as a whole
  for (int64_t i = 0; i < 16; ++i) {
    double sum = 0, low = 1e9, high = -1e9;
    int64_t count = 0;
    for (int64_t step = i * width + 1; step <= std::min((i + 1) * width, steps); ++step) {
      const double v = values[static_cast<size_t>(step)];
      if (std::isnan(v)) continue;
      sum += v, ++count, low = std::min(low, v), high = std::max(high, v);
    }
    EXPECT_NEAR(loss["mean"][static_cast<size_t>(i)], sum / static_cast<double>(count), 1e-6);  // nine digits
    EXPECT_EQ(loss["low"][static_cast<size_t>(i)], low);
    EXPECT_EQ(loss["high"][static_cast<size_t>(i)], high);
  }
}

TEST(Curves, ReadingPieceByPieceIsReadingAtOnce) {
  Path file = Path(testing::TempDir()) / ("metrics-" + random_hex(8) + ".jsonl");
  std::string text;
  for (int64_t step = 1; step <= 100; ++step) text += line_of(step, std::to_string(step)) + "\n";
  text += line_of(101, "7").substr(0, 20);  // unfinished
  Curves bits(32), whole(32);
  for (size_t at = 0; at < text.size(); at += 77) {
    std::ofstream(file, std::ios::app) << text.substr(at, 77);
    bits.read(file);
  }
  whole.read(file);
  EXPECT_EQ(bits.to_json(), whole.to_json());
  EXPECT_TRUE(whole.unfinished_line());
  EXPECT_EQ(whole.lines(), 100);
  std::ofstream(file) << line_of(1, "3") << "\n";  // begun anew
  bits.read(file);
  EXPECT_EQ(bits.last_step(), 1);
  EXPECT_FALSE(bits.unfinished_line());
  std::filesystem::remove(file);
}

TEST(Curves, DamagedLinesAreCountedAndPassedOver) {
  Curves curves;
  for (const char* line : {"", "[1]", "{\"step\":", "{\"step\":0}", "{\"step\":1.5}", "{\"step\":\"1\"}", "17", "{\"loss\":1}", "\xff\xfe", "{\"step\":-3}"})
    curves.add_line(line);
  EXPECT_EQ(curves.unread_lines(), 10);
  curves.add_line("{\"step\":4,\"loss\":1,\"name\":\"x\",\"inner\":{\"loss\":9},\"list\":[1,2],\"flag\":true,\"after\":2}");
  curves.add_line("{\"step\":4,\"loss\":5}");  // a step that was there
  EXPECT_EQ(curves.unread_lines(), 11);
  Json out = curves.to_json();
  EXPECT_EQ(series(out, "loss")["mean"].back(), 1);
  EXPECT_EQ(series(out, "after")["mean"].back(), 2);
  EXPECT_EQ(out["series"].size(), 2u);
}

TEST(Curves, ASparseSeriesKeepsItsPlaces) {
  Curves curves(4);
  for (int64_t step = 1; step <= 7; ++step)
    curves.add_line(step == 6 ? "{\"step\":6,\"rare\":2.5,\"loss\":1}" : "{\"step\":" + std::to_string(step) + ",\"loss\":1}");
  Json rare = series(curves.to_json(), "rare");
  EXPECT_EQ(rare["mean"], (Json{nullptr, nullptr, 2.5, nullptr}));
  EXPECT_TRUE(rare["missing"].empty());
}

}  // namespace
}  // namespace t2i
