#include "core/plug/tag.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <random>

#include "core/plug/elf.h"

// This test is itself a position-independent ELF file with a tag, so it can read itself.
__attribute__((used, section(".t2i_tag"))) static const char own_tag[] =
    "T2I-PLUGIN abi=3.14 torch=2.11.0+cu130 id=org.example.self later=unknown";

namespace t2i {
namespace {

const char* self = "/proc/self/exe";

TEST(Tag, ReadsItsOwnFile) {
  Result<PluginTag> tag = read_plugin_tag(self);
  ASSERT_TRUE(tag) << to_string(tag.error());
  EXPECT_EQ(tag->abi_major, 3u);
  EXPECT_EQ(tag->abi_minor, 14u);
  EXPECT_EQ(tag->torch, "2.11.0+cu130");
  EXPECT_EQ(tag->id, "org.example.self");
}

TEST(Tag, RefusesWhatIsNoTag) {
  const char* broken[] = {"",
                          "T2I-PLUGINabi=0.2 torch=any id=a",
                          "T2I-PLUGIN torch=any id=a",
                          "T2I-PLUGIN abi=0 torch=any id=a",
                          "T2I-PLUGIN abi=-1.0 torch=any id=a",
                          "T2I-PLUGIN abi=0.2x torch=any id=a",
                          "T2I-PLUGIN abi=99999999999.1 torch=any id=a",
                          "T2I-PLUGIN abi=0.2 id=a",
                          "T2I-PLUGIN abi=0.2 torch=any",
                          "T2I-PLUGIN abi=0.2 torch=any id=",
                          "T2I-PLUGIN abi=0.2 torch=any id=a\x1b[31m"};
  for (const char* text : broken) {
    Result<PluginTag> tag = parse_plugin_tag(text, "x.so");
    ASSERT_FALSE(tag) << text;
    EXPECT_EQ(tag.error().id, "E2054") << text;
  }
  EXPECT_TRUE(parse_plugin_tag(std::string_view("T2I-PLUGIN abi=0.2 torch=any id=a\0garbage", 40), "x.so"));
}

TEST(Tag, SaysWhyAFileIsNoPlugin) {
  auto id_of = [](const char* file) {
    Result<PluginTag> tag = read_plugin_tag(file);
    return tag ? std::string("none") : tag.error().id;
  };
  EXPECT_EQ(id_of("/no/such/file.so"), "E2052");
  EXPECT_EQ(id_of("/"), "E2052");
  EXPECT_EQ(id_of("/proc/self/status"), "E2053");
}

TEST(Elf, FindsTheSymbolsThatTheLoaderFinds) {
  Result<ElfFile> elf = open_elf(self);
  ASSERT_TRUE(elf);
  Result<std::vector<ElfSymbol>> symbols = elf_dynamic_symbols(*elf);
  ASSERT_TRUE(symbols);
  bool wants_libc = false;
  for (const ElfSymbol& s : *symbols) wants_libc |= s.name == "__libc_start_main" && !s.defined;
  EXPECT_TRUE(wants_libc);
  Result<std::vector<std::string>> needed = elf_needed(*elf);
  ASSERT_TRUE(needed);
  EXPECT_NE(std::find(needed->begin(), needed->end(), "libc.so.6"), needed->end());
  EXPECT_FALSE(elf->executable_stack);
}

// Bytes changed where they hurt (headers, section table, symbol and name tables, the tag) and files cut short: an answer
// or an error, never a crash or a read outside the file (the reader below fails the test if it is asked for one).
TEST(Elf, SurvivesBrokenFiles) {
  std::ifstream in(self, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), {});
  uint64_t size = bytes.size();
  bool outside = false;
  auto read = [&](uint64_t offset, std::span<unsigned char> out) {
    if (offset > size || size - offset < out.size()) return outside = true, false;
    std::memcpy(out.data(), bytes.data() + offset, out.size());
    return true;
  };
  Result<ElfFile> whole = parse_elf("self", size, read);
  ASSERT_TRUE(whole);
  std::vector<std::pair<uint64_t, uint64_t>> targets = {{0, 64}, {0, 1024}};  // offset, bytes
  uint64_t section_table = 0;
  std::memcpy(&section_table, bytes.data() + 40, 8);  // e_shoff
  targets.push_back({section_table, whole->sections.size() * 64});
  for (const char* name : {".t2i_tag", ".dynsym", ".dynamic", ".shstrtab"}) {
    const ElfSection* s = whole->find(name);
    ASSERT_TRUE(s) << name;
    targets.push_back({s->offset, std::min<uint64_t>(s->size, 4096)});
  }
  std::mt19937 random(7);
  const unsigned char nasty[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
  int refused = 0;
  for (int round = 0; round < 4000; ++round) {
    std::vector<std::pair<uint64_t, char>> undo;
    for (uint32_t change = 0, changes = 1 + random() % 6; change < changes; ++change) {
      auto [offset, length] = targets[random() % targets.size()];
      uint64_t at = offset + random() % length;
      undo.push_back({at, bytes[at]});
      bytes[at] = static_cast<char>(random() % 2 ? nasty[random() % 5] : random() % 256);
    }
    size = round % 5 == 0 ? random() % bytes.size() : bytes.size();
    Result<ElfFile> elf = parse_elf("broken", size, read);
    if (!elf) {
      ++refused;
    } else {
      if (const ElfSection* s = elf->find(".t2i_tag"))
        if (auto text = elf_section_bytes(*elf, *s, 4096)) (void)parse_plugin_tag(*text, "broken");
      (void)elf_dynamic_symbols(*elf);
      (void)elf_needed(*elf);
    }
    for (auto it = undo.rbegin(); it != undo.rend(); ++it) bytes[it->first] = it->second;
  }
  EXPECT_FALSE(outside);
  EXPECT_GT(refused, 1000);  // the mutations do reach the checks
  EXPECT_LT(refused, 4000);
}

}  // namespace
}  // namespace t2i
