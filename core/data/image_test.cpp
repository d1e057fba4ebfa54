#include "core/data/image.h"

#include <gtest/gtest.h>

#include "core/data/test_files.h"

using namespace t2i;
using namespace t2i::testing_files;

// The EXIF standard says where row 0 and column 0 of what is stored belong in what is seen; written here from that
// table, pixel by pixel.
TEST(Image, TurnedUprightAsTheStandardSays) {
  for (auto [width, height] : {std::pair{5, 3}, {1, 4}, {70, 33}, {1, 1}}) {
    Image stored = make_picture(width, height);
    for (int orientation = 0; orientation <= 9; ++orientation) {
      Image seen = stored;
      turn_upright(seen, orientation);
      bool swapped = orientation >= 5 && orientation <= 8;
      ASSERT_EQ(seen.width, swapped ? height : width);
      ASSERT_EQ(seen.height, swapped ? width : height);
      for (int row = 0; row < height; ++row)
        for (int column = 0; column < width; ++column) {
          int right = width - 1 - column, below = height - 1 - row, x = column, y = row;
          switch (orientation) {
            case 2:
              x = right;
              break;  // row 0 top, column 0 right
            case 3:
              x = right, y = below;
              break;  // bottom, right
            case 4:
              y = below;
              break;  // bottom, left
            case 5:
              x = row, y = column;
              break;  // left, top
            case 6:
              x = below, y = column;
              break;  // right, top
            case 7:
              x = below, y = right;
              break;  // right, bottom
            case 8:
              x = row, y = right;
              break;  // left, bottom
          }
          for (int c = 0; c < 3; ++c)
            ASSERT_EQ(seen.row(y)[3 * x + c], stored.row(row)[3 * column + c])
                << orientation << " " << row << " " << column;
        }
    }
  }
}
