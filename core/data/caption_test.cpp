#include "core/data/caption.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

namespace t2i {
namespace {

DrawKey draw(uint64_t step) { return {7, step, 3, 0}; }

TEST(Caption, KeptTagsStayAndTheOthersComeInEveryOrder) {
  CaptionRules rules;
  rules.shuffle = true, rules.keep = 1;
  std::map<std::string, int> seen;
  for (uint64_t step = 0; step < 6000; ++step) ++seen[drawn_caption({{"a cat, red ,blue,green"}}, rules, draw(step))];
  ASSERT_EQ(seen.size(), 6u);
  for (const auto& [text, count] : seen) {
    EXPECT_TRUE(text.starts_with("a cat, ")) << text;
    // 6000 draws of 6 orders: 1000 each, five standard deviations are 144.
    EXPECT_NEAR(count, 1000, 144) << text;
  }
}

TEST(Caption, OfSeveralEachComesAsOftenAsItsWeightSays) {
  std::map<std::string, int> seen;
  for (uint64_t step = 0; step < 8000; ++step) ++seen[drawn_caption({{"long", 3}, {"tags", 1}, {"never", 0}}, {}, draw(step))];
  EXPECT_EQ(seen.count("never"), 0u);
  EXPECT_NEAR(seen["long"], 6000, 194);  // five standard deviations
}

TEST(Caption, WhatIsKeptIsAllThatIsDrawn) {
  CaptionRules rules;
  rules.shuffle = true, rules.kept_orders = 4, rules.prefix = "photo of ", rules.suffix = ".";
  const std::vector<Caption> captions = {{"one, two, three, four", 1}, {"single", 1}};
  const std::vector<std::string> all = all_captions(captions, rules);
  EXPECT_EQ(all.front(), "photo of one, two, three, four.") << "the first is as written";
  std::set<std::string> drawn;
  for (uint64_t step = 0; step < 500; ++step) drawn.insert(drawn_caption(captions, rules, draw(step)));
  EXPECT_EQ(drawn, std::set<std::string>(all.begin(), all.end()));
  EXPECT_LE(all.size(), 5u);
}

TEST(Caption, WithoutRulesItIsAsWritten) {
  EXPECT_TRUE(CaptionRules{}.changes_nothing());
  EXPECT_EQ(drawn_caption({{" a, b "}}, {}, draw(0)), " a, b ");
}

}  // namespace
}  // namespace t2i
