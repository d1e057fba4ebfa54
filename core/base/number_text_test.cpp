#include "core/base/number_text.h"

#include <gtest/gtest.h>

using namespace t2i;

TEST(Bytes, AreReadAsPeopleWriteThem) {
  EXPECT_EQ(bytes_from_text("12GB"), 12'000'000'000u);
  EXPECT_EQ(bytes_from_text("12 GB"), 12'000'000'000u);
  EXPECT_EQ(bytes_from_text("1.5G"), 1'500'000'000u);
  EXPECT_EQ(bytes_from_text("16GiB"), uint64_t{16} << 30);
  EXPECT_EQ(bytes_from_text("900MB"), 900'000'000u);
  EXPECT_EQ(bytes_from_text("3kB"), 3000u);
  EXPECT_EQ(bytes_from_text("2TiB"), uint64_t{2} << 40);
  EXPECT_EQ(bytes_from_text("7"), 7u);
  EXPECT_EQ(bytes_from_text("7B"), 7u);
}

TEST(Bytes, AreRefusedOtherwise) {
  for (const char* text : {"", "GB", "twelve", "12XB", "-1GB", "12GBs", "1e3GB", "12.GB.", "1.2.3GB", "99999999999TB", "iB"})
    EXPECT_EQ(bytes_from_text(text), std::nullopt) << text;
}

TEST(Bytes, ComeBackAsTheyWereShown) {
  for (uint64_t n : {uint64_t{134}, uint64_t{13'400'000'000}, uint64_t{999'900}}) {
    const std::string text = bytes_text(n);
    if (n >= 1000) {
      EXPECT_EQ(bytes_from_text(text), n) << text;
    }
  }
}
