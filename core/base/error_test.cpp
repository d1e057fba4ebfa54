#include "core/base/error.h"

#include <gtest/gtest.h>

using namespace t2i;

TEST(Error, ReadsWhereWhatWhyTodo) {
  Error e{"a.yaml:14:3", "unknown key 'train.learning_rte'", "Keys are checked", "write 'learning_rate'", "E1001", Exit::config};
  EXPECT_EQ(to_string(e),
            "a.yaml:14:3: unknown key 'train.learning_rte'. Keys are checked. → write 'learning_rate'  [T2I-E1001]");
}

TEST(Error, FailureTellsAllAndExitsWithTheFirst) {
  Failure f({{"a", "first", "", "", "E1", Exit::bad_data}, {"b", "second", "", "", "E2", Exit::config}});
  EXPECT_STREQ(f.what(), "a: first.  [T2I-E1]\nb: second.  [T2I-E2]");
  EXPECT_EQ(f.exit(), Exit::bad_data);
}

TEST(Error, NearestForgivesSlipsAndNothingElse) {
  EXPECT_EQ(nearest("learning_rte", {"learning_rate", "lr_scheduler"}), "learning_rate");
  EXPECT_EQ(nearest("zebra", {"learning_rate", "loss"}), std::nullopt);
}

TEST(Error, NoEscapeReachesTheTerminal) { EXPECT_EQ(printable("a\x1b[31mb\x07"), "a?[31mb?"); }
