#include "core/base/forked.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <stdexcept>

using namespace t2i;

TEST(Forked, WhatTheBodyReturnsComesBack) {
  std::string large(1 << 20, 'x');  // more than a pipe holds
  Forked done = run_forked([&] { return large + "\nend"; }, 20);
  EXPECT_EQ(done.died, "");
  EXPECT_EQ(done.text, large + "\nend");
}

TEST(Forked, WhatItChangesStaysThere) {
  int here = 1;
  EXPECT_EQ(run_forked([&] { return here = 2, std::string("changed"); }, 20).text, "changed");
  EXPECT_EQ(here, 1);
}

TEST(Forked, ADeathIsASentence) {
  EXPECT_TRUE(run_forked([]() -> std::string { return ::raise(SIGSEGV), ""; }, 20).died.starts_with("ended by signal 11"));
  EXPECT_EQ(run_forked([]() -> std::string { ::_exit(7); }, 20).died, "ended by itself with code 7");
  EXPECT_EQ(run_forked([]() -> std::string { throw std::runtime_error("x"); }, 20).died, "ended by itself with code 2");
  EXPECT_NE(run_forked([]() -> std::string { ::_exit(0); }, 20).died, "");
}

TEST(Forked, AHangIsEnded) {
  Forked hung = run_forked([]() -> std::string { return ::sleep(600), ""; }, 0.2);
  EXPECT_EQ(hung.died, "gave no answer in 0 s");
  EXPECT_EQ(hung.text, "");
}
