#include "core/data/exif.h"

#include <gtest/gtest.h>

#include "core/data/test_files.h"

using namespace t2i;
using namespace t2i::testing_files;

TEST(Exif, OrientationInBothByteOrdersWithAndWithoutItsName) {
  for (int orientation = 1; orientation <= 8; ++orientation)
    for (bool little : {true, false}) {
      std::string bytes = exif_bytes(orientation, little);
      EXPECT_EQ(exif_orientation(as_span(bytes)), orientation);
      EXPECT_EQ(exif_orientation(as_span(bytes).subspan(6)), orientation);
    }
}

TEST(Exif, NothingIsReadBeyondTheEnd) {
  std::string bytes = exif_bytes(6);
  for (size_t size = 0; size < bytes.size() - 4; ++size) {  // the last four bytes are the next directory's offset
    std::vector<std::byte> exact(as_span(bytes).begin(), as_span(bytes).begin() + static_cast<std::ptrdiff_t>(size));
    int got = exif_orientation(exact);
    EXPECT_TRUE(got == 0 || size >= bytes.size() - 4) << size;
  }
}

TEST(Exif, NonsenseHasNoOrientation) {
  std::string bytes = exif_bytes(6);
  for (size_t at : {6u, 8u, 10u, 16u, 18u, 20u})  // byte order, 42, offset, tag, type, count
    for (char c : {'\0', '\x7f', '\xff'}) {
      std::string broken = bytes;
      if (broken[at] == c) continue;
      broken[at] = c;
      EXPECT_EQ(exif_orientation(as_span(broken)), 0) << at << " " << int(c);
    }
  EXPECT_EQ(exif_orientation(as_span(exif_bytes(9))), 0);
}

TEST(Exif, XmpAsAttributeOrElement) {
  EXPECT_EQ(xmp_orientation("<rdf:Description tiff:Orientation=\"6\"/>"), 6);
  EXPECT_EQ(xmp_orientation("<tiff:Orientation>8</tiff:Orientation>"), 8);
  EXPECT_EQ(xmp_orientation("tiff:Orientation tiff:Orientation=\"3"), 3);
  EXPECT_EQ(xmp_orientation("tiff:Orientation="), 0);
  EXPECT_EQ(xmp_orientation(""), 0);
}
