#include "core/data/png_write.h"

#include <gtest/gtest.h>

#include "core/data/decode.h"
#include "core/data/test_files.h"

using namespace t2i;
using namespace t2i::testing_files;

TEST(PngWrite, PixelsAndTextComeBack) {
  TestFolder folder;
  Image image = make_picture(33, 17);
  PngText text = {{"parameters", "a cat\nSteps: 20, Seed: 1"}, {"Comment", "größer, 語 🙂"}};
  write_png(folder / "a.png", image.width, image.height, image.rgb, text);
  auto back = load_image(folder / "a.png");
  ASSERT_TRUE(back);
  EXPECT_EQ(back->rgb, image.rgb);
  auto texts = read_png_text(folder / "a.png");
  ASSERT_TRUE(texts);
  EXPECT_EQ(texts->at("parameters"), text[0].second);
  EXPECT_EQ(texts->at("Comment"), text[1].second);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);  // nothing temporary is left
}

TEST(PngWrite, WhatCannotBeWrittenIsRefused) {
  Image image = make_picture(2, 2);
  EXPECT_THROW(encode_png(2, 3, image.rgb), Failure);
  EXPECT_THROW(encode_png(2, 2, image.rgb, {{"", "no keyword"}}), Failure);
  EXPECT_THROW(encode_png(2, 2, image.rgb, {{std::string(80, 'k'), "too long"}}), Failure);
  EXPECT_THROW(write_png("/nowhere/at/all.png", 2, 2, image.rgb), Failure);
}

TEST(PngWrite, OnlyPngsHaveTextRead) {
  TestFolder folder;
  folder.write("a.png", "no picture");
  EXPECT_EQ(read_png_text(folder / "a.png").error().id, "E3002");
  EXPECT_EQ(read_png_text(folder / "b.png").error().id, "E3008");
}
