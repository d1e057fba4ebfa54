#include "core/data/tar.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "core/data/file.h"
#include "core/data/test_files.h"

using namespace t2i;
using namespace t2i::testing_files;
using ::testing::HasSubstr;

namespace {

// A header as POSIX has it; what python's tarfile and GNU tar write is read by tests/test_layouts.py.
std::string header(const std::string& name, uint64_t bytes, char type = '0', const std::string& link = "") {
  std::string h(512, '\0');
  auto put = [&](size_t at, const std::string& text) { h.replace(at, text.size(), text); };
  char octal[13];
  std::snprintf(octal, sizeof octal, "%011llo", static_cast<unsigned long long>(bytes));
  put(0, name), put(100, "0000644"), put(124, octal), put(148, "        "), put(157, link), put(257, std::string("ustar\0" "00", 8));
  h[156] = type;
  unsigned sum = 0;
  for (char c : h) sum += static_cast<unsigned char>(c);
  std::snprintf(octal, sizeof octal, "%06o", sum);
  put(148, octal);
  h[154] = '\0';
  return h;
}

std::string member(const std::string& name, const std::string& contents, char type = '0') {
  return header(name, contents.size(), type) + contents + std::string((512 - contents.size() % 512) % 512, '\0');
}

const std::string end(1024, '\0');

struct Walked {
  std::vector<TarMember> members;
  std::string error;
};
Walked walked(const std::string& tar) {
  TestFolder folder;
  folder.write("a.tar", tar);
  auto file = open_file(folder / "a.tar", "", "a.tar").take();
  Walked out;
  auto wrong = walk_tar(file.fd.get(), file.bytes, "a.tar", [&](const TarMember& m) { return out.members.push_back(m), true; });
  if (wrong) out.error = to_string(*wrong);
  return out;
}

}  // namespace

TEST(Tar, MembersAndWhereTheyLie) {
  Walked w = walked(member("a.png", std::string(700, 'x')) + member("sub/", "", '5') + member("sub/b.txt", "caption") + end);
  EXPECT_EQ(w.error, "");
  ASSERT_EQ(w.members.size(), 2u);
  EXPECT_EQ(w.members[0].name, "a.png");
  EXPECT_EQ(w.members[0].offset, 512u);
  EXPECT_EQ(w.members[0].bytes, 700u);
  EXPECT_EQ(w.members[1].name, "sub/b.txt");
  EXPECT_EQ(w.members[1].offset, 512u + 1024 + 512 + 512);
}

TEST(Tar, LongNamesAndSizesOfPaxAndGnu) {
  const std::string name = "a/" + std::string(200, 'n') + ".png";
  std::string record = " path=" + name + "\n";
  record = std::to_string(record.size() + 3) + record;
  Walked pax = walked(member("pax", record, 'x') + member("short", "1234") + end);
  ASSERT_EQ(pax.members.size(), 1u) << pax.error;
  EXPECT_EQ(pax.members[0].name, name);
  Walked gnu = walked(member("././@LongLink", name + std::string(1, '\0'), 'L') + member("short", "1234") + end);
  ASSERT_EQ(gnu.members.size(), 1u) << gnu.error;
  EXPECT_EQ(gnu.members[0].name, name);
  Walked sized = walked(member("pax", "10 size=3\n", 'x') + header("a", 0) + "abc" + std::string(509, '\0') + member("b", "") + end);
  ASSERT_EQ(sized.members.size(), 2u) << sized.error;
  EXPECT_EQ(sized.members[0].bytes, 3u);
}

TEST(Tar, HardLinksSayWhatTheyLinkTo) {
  Walked w = walked(member("a", "1234") + header("b", 0, '1', "a") + end);
  ASSERT_EQ(w.members.size(), 2u);
  EXPECT_EQ(w.members[1].link_to, "a");
}

TEST(Tar, DamageIsSaidAndNeverReadBeyond) {
  const std::string whole = member("a.png", std::string(2000, 'x')) + member("b.png", "1234") + end;
  EXPECT_THAT(walked(whole.substr(0, 1500)).error, HasSubstr("ends within 'a.png': 988 of its 2000 bytes are there"));
  EXPECT_THAT(walked(whole.substr(0, 2700)).error, HasSubstr("ends within a header"));
  EXPECT_EQ(walked(whole.substr(0, whole.size() - 1024)).error, "");  // without the blocks at the end, as some write it
  std::string flipped = whole;
  flipped[2560 + 3] ^= 1;
  EXPECT_THAT(walked(flipped).error, HasSubstr("the header at byte 2560 of this tar is damaged"));
  EXPECT_THAT(walked(std::string("\x1f\x8b\x08", 3) + std::string(600, 'z')).error, HasSubstr("compressed with gzip"));
  EXPECT_THAT(walked(std::string(600, 'z')).error, HasSubstr("no tar"));
  EXPECT_THAT(walked(member("pax", "99 path=a\n", 'x') + end).error, HasSubstr("pax header"));
  EXPECT_THAT(walked(member("pax", "9999999999999999999999 path=a\n", 'x') + end).error, HasSubstr("pax header"));
  EXPECT_THAT(walked(header("pax", uint64_t{1} << 32, 'x')).error, HasSubstr("ends within"));
  EXPECT_EQ(walked("").error, "");
}

TEST(Tar, EveryShortenedAndEveryFlippedHeaderEndsWell) {
  const std::string whole = member("pax", "10 size=3\n", 'x') + header("a", 0) + "abc" + std::string(509, '\0') + member("b", "1234") + end;
  for (size_t cut = 0; cut < whole.size(); cut += 37) walked(whole.substr(0, cut));
  for (size_t at = 0; at < 1024 + 512; at += 3) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x91);
    for (const TarMember& m : walked(flipped).members) EXPECT_LE(m.offset + m.bytes, whole.size());
  }
}
