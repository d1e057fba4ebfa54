#include "core/plan/block_choice.h"

#include <gtest/gtest.h>

using namespace t2i;

TEST(MostSaving, MarksTheLargestFirst) {
  const std::vector<int64_t> savings{5, 40, 7, 40, -1};
  EXPECT_EQ(most_saving(savings, 0), (std::vector{false, false, false, false, false}));
  EXPECT_EQ(most_saving(savings, 1), (std::vector{false, true, false, false, false}));  // the earlier of two equal ones
  EXPECT_EQ(most_saving(savings, 3), (std::vector{false, true, true, true, false}));
  EXPECT_EQ(most_saving(savings, 9), (std::vector{true, true, true, true, true}));
}
