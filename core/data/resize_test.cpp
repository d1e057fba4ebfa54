#include <gtest/gtest.h>

#include <random>

#include "core/data/test_files.h"
#include "core/data/transform.h"

using namespace t2i;
using namespace t2i::testing_files;

// That resize() equals Pillow is shown in tests/test_pixels_equal_pil.py; here is what must hold for any filter.
namespace {
constexpr Filter filters[] = {Filter::bilinear, Filter::bicubic, Filter::lanczos};
}

TEST(Resize, TheSameSizeChangesNothing) {
  Image image = make_picture(37, 21);
  for (Filter filter : filters) EXPECT_EQ(resize(image, 37, 21, filter).rgb, image.rgb);
}

TEST(Resize, OneColourStaysThatColour) {
  Image image = make_picture(50, 40);
  for (size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = i % 3 == 0 ? 255 : i % 3 == 1 ? 0 : 130;
  for (Filter filter : filters)
    for (auto [width, height] : {std::pair{7, 9}, {200, 3}, {51, 111}}) {
      Image got = resize(image, width, height, filter);
      for (size_t i = 0; i < got.rgb.size(); ++i) ASSERT_EQ(got.rgb[i], i % 3 == 0 ? 255 : i % 3 == 1 ? 0 : 130);
    }
}

TEST(Resize, AWindowIsThatPartOfTheWhole) {
  std::mt19937 random(7);
  auto between = [&](int low, int high) { return std::uniform_int_distribution(low, high)(random); };
  for (int round = 0; round < 200; ++round) {
    Image image = make_picture(between(1, 90), between(1, 90), round);
    int width = between(1, 120), height = between(1, 120);
    int window_width = between(1, width), window_height = between(1, height);
    int left = between(0, width - window_width), top = between(0, height - window_height);
    Filter filter = filters[round % 3];
    Image whole = resize(image, width, height, filter);
    Image window = resize_window(image, width, height, filter, top, left, window_width, window_height);
    for (int y = 0; y < window_height; ++y)
      ASSERT_TRUE(std::equal(window.row(y), window.row(y) + 3 * window_width, whole.row(top + y) + 3 * left)) << round;
  }
}
