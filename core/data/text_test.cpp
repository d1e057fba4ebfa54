#include "core/data/text.h"

#include <gtest/gtest.h>

using namespace t2i;

TEST(Text, BadUtf8IsFoundAtItsByte) {
  EXPECT_EQ(find_bad_utf8("plain, ä, 語, 🙂"), std::string::npos);
  EXPECT_EQ(find_bad_utf8("ab\xe4"
                          "cd"),
            2u);                                      // Latin-1
  EXPECT_EQ(find_bad_utf8("\xc0\xaf"), 0u);           // overlong
  EXPECT_EQ(find_bad_utf8("\xed\xa0\x80"), 0u);       // a surrogate
  EXPECT_EQ(find_bad_utf8("x\xf4\x90\x80\x80"), 1u);  // beyond U+10FFFF
  EXPECT_EQ(find_bad_utf8("x\xe8\xaa"), 1u);          // cut
  EXPECT_EQ(find_bad_utf8("\xff\xfeh"), 0u);          // UTF-16
}

TEST(Text, Names) {
  EXPECT_EQ(caption_from_name("cats/red_car-02.png"), "red car 02");
  EXPECT_EQ(caption_from_name("a.b/plain"), "plain");
  EXPECT_EQ(extension_of("x.tar.JPEG"), "jpeg");
  EXPECT_EQ(extension_of("a.b/plain"), "");
  EXPECT_EQ(extension_of(".hidden"), "");
  EXPECT_EQ(counted(1, "image"), "1 image");
  EXPECT_EQ(counted(1234567, "row"), "1,234,567 rows");
  EXPECT_EQ(trimmed(" \n a b\t"), "a b");
}
