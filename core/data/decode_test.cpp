#include "core/data/decode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <random>

#include "core/data/test_files.h"

using namespace t2i;
using namespace t2i::testing_files;
using namespace std::string_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace {

Result<Image> decode_text(const std::string& bytes, const std::string& where, const DecodeLimits& limits = {}) {
  // A copy of exactly this size, so that the address sanitizer sees a read beyond it.
  std::vector<std::byte> exact(as_span(bytes).begin(), as_span(bytes).end());
  return decode(exact, where, limits);
}

std::string with_chunk(const std::string& png, const std::string& type, const std::string& data) {
  // After IHDR. Its checksum is not right, which for an ancillary chunk nobody may mind.
  std::string size;
  for (int shift : {24, 16, 8, 0}) size += static_cast<char>(data.size() >> shift);
  return png.substr(0, 33) + size + type + data + "\0\0\0\0"s + png.substr(33);
}

}  // namespace

TEST(Decode, LosslessFormatsComeBackExactly) {
  for (auto [width, height] : {std::pair{1, 1}, {3, 2}, {64, 48}, {257, 100}}) {
    Image image = make_picture(width, height);
    for (const std::string& bytes : {png_bytes(image), webp_bytes(image, true)}) {
      auto got = decode_text(bytes, "a");
      ASSERT_TRUE(got) << to_string(got.error());
      EXPECT_EQ(got->width, width);
      EXPECT_EQ(got->rgb, image.rgb);
      EXPECT_TRUE(got->notes.empty());
    }
  }
}

TEST(Decode, OrientationIsAppliedOnce) {
  Image image = make_picture(40, 24);
  std::string exif = exif_bytes(6);
  auto png = decode_text(with_chunk(png_bytes(image), "eXIf", exif.substr(6)), "a.png");
  ASSERT_TRUE(png);
  Image turned = image;
  turn_upright(turned, 6);
  EXPECT_EQ(png->rgb, turned.rgb);
  EXPECT_THAT(png->notes, ElementsAre(HasSubstr("EXIF")));
  auto jpeg = decode_text(jpeg_bytes(image, false, exif), "a.jpg");
  ASSERT_TRUE(jpeg);
  EXPECT_EQ(jpeg->width, 24);
  EXPECT_EQ(jpeg->height, 40);
}

TEST(Decode, TheBytesDecideNotTheName) {
  auto got = decode_text(png_bytes(make_picture(4, 4)), "x/photo.JPG");
  ASSERT_TRUE(got);
  EXPECT_THAT(got->notes, ElementsAre("named .jpg but PNG; read as PNG"));
}

TEST(Decode, CutFilesSayHowFarTheyGo) {
  Image image = make_picture(128, 200);
  std::mt19937 random(1);
  for (uint8_t& byte : image.rgb) byte = static_cast<uint8_t>(byte ^ (random() & 31));  // or it would pack too well
  struct Case {
    std::string name, bytes;
  };
  for (const Case& c :
       {Case{"JPEG", jpeg_bytes(image)}, {"PNG", png_bytes(image)}, {"WebP", webp_bytes(image, true)}}) {
    int last = -1;
    for (double share : {0.02, 0.3, 0.6, 0.9}) {
      auto got = decode_text(c.bytes.substr(0, static_cast<size_t>(share * static_cast<double>(c.bytes.size()))), "a");
      ASSERT_FALSE(got) << c.name << share;
      EXPECT_EQ(got.error().id, "E3001");
      EXPECT_THAT(got.error().what, HasSubstr(c.name + " ends after "));
      int percent = std::stoi(got.error().what.substr(got.error().what.find("after ") + 6));
      EXPECT_GE(percent, last) << c.name << " " << got.error().what;
      EXPECT_LT(percent, 100);
      last = percent;
    }
    EXPECT_GT(last, 50) << c.name;
  }
}

TEST(Decode, ACutFileClosedAgainIsStillCut) {
  for (bool progressive : {false, true}) {
    std::string bytes = jpeg_bytes(make_picture(200, 160), progressive);
    auto got = decode_text(bytes.substr(0, bytes.size() / 2) + "\xff\xd9", "a.jpg");
    ASSERT_FALSE(got) << progressive;
    EXPECT_THAT(got.error().what, HasSubstr("JPEG ends after"));
  }
}

TEST(Decode, CutProgressiveJpegNamesTheScan) {
  std::string bytes = jpeg_bytes(make_picture(200, 160), true);
  auto got = decode_text(bytes.substr(0, bytes.size() / 2), "a.jpg");
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().id, "E3001");
  EXPECT_THAT(got.error().what, HasSubstr("of scan"));
}

TEST(Decode, AMissingEndMarkerLosesNothing) {
  Image image = make_picture(64, 64);
  std::string bytes = jpeg_bytes(image);
  auto whole = decode_text(bytes, "a.jpg"), cut = decode_text(bytes.substr(0, bytes.size() - 2), "a.jpg");
  ASSERT_TRUE(whole);
  ASSERT_TRUE(cut) << to_string(cut.error());
  EXPECT_EQ(whole->rgb, cut->rgb);
}

TEST(Decode, LimitsAreAskedBeforeMemory) {
  // The same small files with a size in their header that would take gigabytes.
  std::string png = png_bytes(make_picture(8, 8)), jpeg = jpeg_bytes(make_picture(8, 8));
  for (size_t at : {16u, 20u}) png[at + 1] = '\1';  // 65,544 × 65,544
  size_t frame = jpeg.find("\xff\xc0");
  for (size_t i = 5; i < 9; ++i) jpeg[frame + i] = '\xff';  // 65,535 × 65,535
  for (const std::string& bytes : {png, jpeg}) {
    auto got = decode_text(bytes, "a");
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().id, "E3007") << to_string(got.error());
  }
  DecodeLimits limits;
  limits.max_pixels = 99;
  for (const std::string& bytes : {png_bytes(make_picture(10, 10)), webp_bytes(make_picture(10, 10), false)}) {
    auto got = decode_text(bytes, "a", limits);
    ASSERT_FALSE(got);
    EXPECT_THAT(got.error().what, HasSubstr("10 × 10"));
  }
}

TEST(Decode, ScanBombIsRefusedByCountingMarkers) {
  std::string jpeg = jpeg_bytes(make_picture(16, 16), true);
  size_t last_scan = jpeg.rfind("\xff\xda");
  std::string scan = jpeg.substr(last_scan, jpeg.size() - 2 - last_scan), bomb = jpeg.substr(0, jpeg.size() - 2);
  for (int i = 0; i < 600; ++i) bomb += scan;
  std::clock_t start = std::clock();
  auto got = decode_text(bomb + "\xff\xd9", "a.jpg");
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC / 5);  // of processor time
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().id, "E3007");
  EXPECT_THAT(got.error().what, HasSubstr("scans"));
}

TEST(Decode, WhatIsNoPictureIsNamed) {
  struct Case {
    std::string bytes, said;
  };
  for (const Case& c : {Case{"", "empty"},
                        {"GIF89a....", "a GIF"},
                        {"....ftypheic....", "a HEIC"},
                        {"<!DOCTYPE html><html>", "web page"},
                        {"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git-LFS pointer"},
                        {std::string(64, '\0'), "all zero"},
                        {"hello", "not a picture"},
                        {"\xff\xd8\xff", "JPEG"},
                        {"\x89PNG\r\n\x1a\n", "PNG ends"},
                        {"RIFF....WEBPVP8 ", "WebP"}}) {
    auto got = decode_text(c.bytes, "x.png");
    ASSERT_FALSE(got);
    EXPECT_THAT(to_string(got.error()), HasSubstr(c.said));
    EXPECT_TRUE(got.error().id == "E3002" || got.error().id == "E3001");
  }
}

TEST(Decode, CompressedMetadataIsNotInflatedBeyondItsLimit) {
  // 20 MB of zeros in a zTXt profile: 20 kB in the file.
  Image image = make_picture(8, 8);
  std::string bomb = "Raw profile type exif\0\0"s;
  std::vector<uint8_t> zeros(20'000'000 / 3 * 3, 0);
  std::vector<uint8_t> packed = encode_png(static_cast<int>(zeros.size() / 3 / 1000), 1000,
                                           std::span(zeros).first(zeros.size() / 3 / 1000 * 3000));
  std::string text(packed.begin(), packed.end());
  size_t data = text.find("IDAT") + 4;
  std::clock_t start = std::clock();
  auto got = decode_text(with_chunk(png_bytes(image), "zTXt", bomb + text.substr(data)), "a.png");
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC / 5);  // of processor time
  ASSERT_TRUE(got) << to_string(got.error());
  EXPECT_EQ(got->rgb, image.rgb);
}

// Thousands of broken files: the answer is a picture of its own size or an error of ours, never a crash or a hang.
TEST(Decode, MutatedFilesNeverCrash) {
  Image image = make_picture(61, 47);
  std::vector<std::string> originals = {png_bytes(image),
                                        with_chunk(with_chunk(png_bytes(image), "eXIf", exif_bytes(5).substr(6)),
                                                   "tEXt", "XML:com.adobe.xmp\0tiff:Orientation=\"6\""s),
                                        jpeg_bytes(image, false, exif_bytes(8)),
                                        jpeg_bytes(image, true),
                                        webp_bytes(image, true),
                                        webp_bytes(image, false)};
  DecodeLimits limits;
  limits.max_pixels = 1'000'000;
  std::mt19937 random(20261121);
  auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  size_t decoded = 0, refused = 0;
  for (const std::string& original : originals)
    for (int round = 0; round < 2000; ++round) {
      std::string bytes = original;
      // Half of the damage near the head, where the structure is.
      for (size_t changes = 1 + below(4); changes > 0; --changes) {
        size_t at = below(2) ? below(bytes.size()) : below(std::min<size_t>(bytes.size(), 120));
        switch (below(5)) {
          case 0:
            bytes[at] = static_cast<char>(below(256));
            break;
          case 1:
            bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
            break;
          case 2:
            bytes[at] = below(2) ? '\xff' : '\0';
            break;
          case 3:
            bytes.insert(at, bytes.substr(below(bytes.size()), below(40)));
            break;
          case 4:
            bytes.resize(std::max<size_t>(1, below(6) ? bytes.size() : at));
            break;
        }
      }
      auto got = decode_text(bytes, "a.png", limits);
      if (got) {
        ++decoded;
        ASSERT_EQ(got->rgb.size(), static_cast<size_t>(got->width) * static_cast<size_t>(got->height) * 3);
        ASSERT_LE(got->rgb.size(), limits.max_pixels * 3);
      } else {
        ++refused;
        const std::string& id = got.error().id;
        ASSERT_TRUE(id == "E3001" || id == "E3002" || id == "E3007") << id;
      }
    }
  EXPECT_GT(decoded, 1000u);  // the damage is not so coarse that nothing deep is reached
  EXPECT_GT(refused, 1000u);
}
