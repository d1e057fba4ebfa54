// Against multipliers that diffusers computed (tests/golden/make_lr_schedule.py).
#include "core/base/lr_schedule.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "core/base/error.h"
#include "core/base/json.h"

using namespace t2i;

TEST(LrSchedule, EqualsDiffusersAtEveryStep) {
  const char* root = std::getenv("T2I_SOURCE_DIR");
  ASSERT_NE(root, nullptr) << "set T2I_SOURCE_DIR to the checkout";
  std::ifstream file(std::string(root) + "/tests/golden/lr_schedule.json");
  ASSERT_TRUE(file.good());
  Json cases = Json::parse(file);
  ASSERT_GE(cases.size(), 20u);
  for (const auto& c : cases) {
    LrSchedule schedule{c["name"], c["warmup"], c["total"], c["cycles"], c["power"], c["learning_rate"]};
    ASSERT_GT(c["multipliers"].size(), 10u);
    for (size_t step = 0; step < c["multipliers"].size(); ++step)
      EXPECT_EQ(lr_multiplier(schedule, static_cast<int64_t>(step)), c["multipliers"][step].get<double>())
          << schedule.name << " warm-up " << schedule.warmup_steps << " step " << step;
  }
}

TEST(LrSchedule, EveryNameWorksAndNoOther) {
  for (const std::string& name : lr_schedule_names()) {
    double at_start = lr_multiplier({name, 0, 10, 1, 1, 1e-4}, 0);
    EXPECT_EQ(at_start, 1.0) << name;
  }
  EXPECT_THROW(lr_multiplier({"sine", 0, 10, 1, 1, 1e-4}, 0), Failure);
}

TEST(LrSchedule, NothingButWarmUp) {  // diffusers divides by zero here
  EXPECT_EQ(lr_multiplier({"polynomial", 10, 10, 1, 1, 1e-4}, 10), 1e-7 / 1e-4);
}
