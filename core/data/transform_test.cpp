#include "core/data/transform.h"

#include <gtest/gtest.h>

#include <set>

#include "core/data/test_files.h"

using namespace t2i;
using namespace t2i::testing_files;

TEST(Geometry, TheShortSideBecomesTheResolution) {
  TransformOptions options{.width = 512, .height = 512, .center_crop = true};
  Geometry wide = derive_geometry(options, 1000, 400, {});
  EXPECT_EQ(wide.resized_height, 512);
  EXPECT_EQ(wide.resized_width, 1280);
  EXPECT_EQ(wide.crop_left, 384);
  EXPECT_EQ(wide.crop_top, 0);
  Geometry tall = derive_geometry(options, 333, 1000, {});
  EXPECT_EQ(tall.resized_width, 512);
  EXPECT_EQ(tall.resized_height, 1537);  // 1537.5 rounded down
  EXPECT_EQ(tall.crop_top, 512);         // 512.5 to the even number
  EXPECT_EQ(tall.original_width, 333);
}

TEST(Geometry, AnyTargetIsCovered) {
  for (auto [width, height] : {std::pair{1, 1}, {1, 5000}, {5000, 1}, {640, 480}, {512, 512}, {511, 513}})
    for (auto [target_width, target_height] : {std::pair{64, 64}, {96, 64}, {64, 96}, {1, 7}}) {
      TransformOptions options{.width = target_width, .height = target_height};
      Geometry g = derive_geometry(options, width, height, {1, 2, 3});
      EXPECT_GE(g.resized_width, target_width);
      EXPECT_GE(g.resized_height, target_height);
      EXPECT_TRUE(g.resized_width == target_width || g.resized_height == target_height);
      EXPECT_GE(g.crop_left, 0);
      EXPECT_GE(g.crop_top, 0);
      EXPECT_LE(g.crop_left + target_width, g.resized_width);
      EXPECT_LE(g.crop_top + target_height, g.resized_height);
    }
}

TEST(Geometry, DrawsAreAFunctionOfTheKeyAndReachEveryPlace) {
  TransformOptions options{.width = 10, .height = 10, .random_flip = true};
  std::set<int> places;
  int flips = 0;
  for (uint64_t sample = 0; sample < 2000; ++sample) {
    Geometry g = derive_geometry(options, 20, 10, {5, 1, sample});
    EXPECT_EQ(g, derive_geometry(options, 20, 10, {5, 1, sample, 77}));  // the stream is set inside
    places.insert(g.crop_left);
    flips += g.flip;
  }
  EXPECT_EQ(places.size(), 11u);
  EXPECT_NEAR(flips, 1000, 5 * 22.4);  // five standard deviations of 2000 fair coins
}

TEST(Geometry, CropAndFlipAreIndependentStreams) {
  // The same key with and without flipping crops at the same place.
  for (uint64_t sample = 0; sample < 50; ++sample) {
    Geometry a = derive_geometry({.width = 8, .height = 8}, 30, 20, {1, 1, sample});
    Geometry b = derive_geometry({.width = 8, .height = 8, .random_flip = true}, 30, 20, {1, 1, sample});
    EXPECT_EQ(a.crop_left, b.crop_left);
    EXPECT_EQ(a.crop_top, b.crop_top);
  }
}

TEST(ApplyGeometry, FloatsFromMinusOneToOneChannelsFirstMirrored) {
  Image image = make_picture(6, 4);
  image.rgb[0] = 0, image.rgb[1] = 255, image.rgb[2] = 128;
  Geometry g = derive_geometry({.width = 4, .height = 4, .center_crop = true}, 6, 4, {});
  ASSERT_EQ(g.crop_left, 1);
  FloatImage plain = apply_geometry(image, g, Filter::bicubic);
  g.flip = true;
  FloatImage mirrored = apply_geometry(image, g, Filter::bicubic);
  ASSERT_EQ(plain.chw.size(), 48u);
  for (size_t c = 0; c < 3; ++c)
    for (size_t y = 0; y < 4; ++y)
      for (size_t x = 0; x < 4; ++x) {
        float byte = image.rgb[(y * 6 + x + 1) * 3 + c];
        EXPECT_EQ(plain.chw[(c * 4 + y) * 4 + x], (byte / 255.0f - 0.5f) / 0.5f);
        EXPECT_EQ(plain.chw[(c * 4 + y) * 4 + x], mirrored.chw[(c * 4 + y) * 4 + 3 - x]);
      }
}
