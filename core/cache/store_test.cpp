#include "core/cache/store.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <set>

#include "core/base/kill_point.h"
#include "core/cache/known_files.h"
#include "core/cache/segment.h"

namespace t2i {
namespace {

class Cache : public testing::Test {
 protected:
  Path folder = std::filesystem::temp_directory_path() / ("t2i-cache-" + random_hex(8));
  void SetUp() override { make_cache_folder(folder); }
  void TearDown() override { std::filesystem::remove_all(folder); }

  static CacheEntry entry(const std::string& key, const std::string& kind = "latents") {
    CacheEntry e;
    e.key = key, e.kind = kind, e.source = key + ".png", e.text = kind == "text" ? key : "", e.encoder = "e";
    return e;
  }
  static std::string content(const std::string& key) {
    std::string text;
    while (text.size() < 10'000) text += key + "\n";
    return text;
  }
  void write(const std::vector<std::string>& keys, const std::string& kind = "latents") const {
    SegmentWriter writer(folder, kind);
    for (const std::string& key : keys) writer.add_bytes(entry(key, kind), as_bytes(content(key)));
    writer.commit();
  }
  // All that is there, each read and compared.
  std::set<std::string> keys() const {
    const CacheStore store = CacheStore::open(folder);
    std::set<std::string> out;
    for (const PlacedEntry& e : store.entries()) {
      const Bytes bytes = store.read(e).take();
      EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), content(e.entry.key));
      EXPECT_EQ(store.find(e.entry.key), &e);
      out.insert(e.entry.key);
    }
    return out;
  }
  size_t files(const char* ending) const {
    size_t n = 0;
    for (const auto& at : std::filesystem::directory_iterator(folder)) n += at.path().extension() == ending;
    return n;
  }
};
using Keys = std::set<std::string>;

TEST_F(Cache, WhatIsCommittedIsThereAndWhatIsNotIsNot) {
  {
    SegmentWriter writer(folder, "latents");
    writer.add_bytes(entry("a"), as_bytes(content("a")));
    EXPECT_EQ(keys(), Keys());
    writer.commit();
    EXPECT_EQ(keys(), Keys({"a"}));
    writer.add_bytes(entry("b"), as_bytes(content("b")));
  }
  EXPECT_EQ(keys(), Keys({"a"}));
  { SegmentWriter nothing(folder, "text"); }
  EXPECT_EQ(files(".index"), 1u);
}

TEST_F(Cache, APictureOfAnyNameSurvivesItsLine) {
  CacheEntry e = entry("k", "text");
  e.source = "a\tb\n\"c\".png", e.text = "zwei\nZeilen\t und \u2603";
  const std::string line = to_line(e);
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  const auto back = entry_of_line(std::string_view(line).substr(0, line.size() - 1));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->source, e.source);
  EXPECT_EQ(back->text, e.text);
  for (size_t cut = 0; cut + 1 < line.size(); ++cut) EXPECT_FALSE(entry_of_line(std::string_view(line).substr(0, cut)));
}

// Every place where the power may go, in every pass: what had been committed before is there, nothing is half there, and
// the next builder makes the rest.
TEST_F(Cache, AKillAnywhereLosesOnlyWhatWasNotCommitted) {
  for (const char* point : {"cache-append", "cache-data-synced", "cache-line-half", "cache-index-written", "cache-committed"})
    for (int pass = 1; pass <= 3; ++pass) {
      std::filesystem::remove_all(folder);
      make_cache_folder(folder);
      const pid_t child = fork();
      if (child == 0) {
        arm_kill_point(std::string(point) + ":" + std::to_string(pass));
        SegmentWriter writer(folder, "latents");
        for (const char* key : {"a", "b", "c"}) {
          writer.add_bytes(entry(key), as_bytes(content(key)));
          writer.commit();
        }
        _exit(0);
      }
      int status = 0;
      waitpid(child, &status, 0);
      ASSERT_TRUE(WIFSIGNALED(status)) << point << pass;
      Keys there = keys();
      const auto before = static_cast<size_t>(pass - 1);
      EXPECT_GE(there.size(), before) << point << pass;
      EXPECT_LE(there.size(), before + 1) << point << pass;
      Keys missing;
      for (const char* key : {"a", "b", "c"})
        if (!there.contains(key)) missing.insert(key);
      write({missing.begin(), missing.end()});
      EXPECT_EQ(keys(), Keys({"a", "b", "c"}));
      collect_garbage(folder);
      EXPECT_EQ(keys(), Keys({"a", "b", "c"}));
      EXPECT_TRUE(CacheStore::open(folder).notices().empty());
      EXPECT_EQ(files(".index"), 1u);
    }
}

TEST_F(Cache, AFlippedByteIsFound) {
  write({"a", "b"});
  const CacheStore store = CacheStore::open(folder);
  const PlacedEntry& b = *store.find("b");
  {
    std::fstream data(store.segments()[b.segment].data_path, std::ios::in | std::ios::out | std::ios::binary);
    data.seekp(static_cast<std::streamoff>(b.entry.offset + 5000));
    data.put('\x7f');
  }
  const CacheStore now = CacheStore::open(folder);
  EXPECT_TRUE(now.read(*now.find("a")));
  auto read = now.read(*now.find("b"));
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().id, "E8071");
  collect_garbage(folder);
}

TEST_F(Cache, ADataFileThatWasCutLosesTheEntriesBehindTheCut) {
  write({"a", "b", "c"});
  const CacheStore store = CacheStore::open(folder);
  std::filesystem::resize_file(store.segments()[0].data_path, store.find("c")->entry.offset + 1);
  EXPECT_EQ(keys(), Keys({"a", "b"}));
  EXPECT_EQ(CacheStore::open(folder).notices().size(), 1u);
}

TEST_F(Cache, RemovedEntriesGoAndTheirRoomComesBack) {
  write({"a", "b", "c"});
  write({"t"}, "text");
  EXPECT_EQ(remove_entries(folder, [](const CacheEntry& e) { return e.source == "b.png"; }, true).entries, 1u);
  EXPECT_EQ(keys(), Keys({"a", "b", "c", "t"})) << "a dry run removes nothing";
  EXPECT_EQ(remove_entries(folder, [](const CacheEntry& e) { return e.source == "b.png"; }).entries, 1u);
  EXPECT_EQ(keys(), Keys({"a", "c", "t"}));
  EXPECT_GT(collect_garbage(folder).freed_bytes, 9'000u);
  EXPECT_EQ(keys(), Keys({"a", "c", "t"}));
  EXPECT_EQ(remove_entries(folder, [](const CacheEntry&) { return true; }).entries, 3u);
  EXPECT_EQ(files(".data") + files(".index"), 0u);
}

TEST_F(Cache, WhatABuilderHoldsStaysAsItIs) {
  SegmentWriter writer(folder, "latents");
  writer.add_bytes(entry("a"), as_bytes(content("a")));
  writer.commit();
  EXPECT_EQ(remove_entries(folder, [](const CacheEntry&) { return true; }).in_use.size(), 1u);
  EXPECT_EQ(collect_garbage(folder).in_use.size(), 1u);
  writer.add_bytes(entry("b"), as_bytes(content("b")));
  writer.commit();
  EXPECT_EQ(keys(), Keys({"a", "b"}));
}

TEST_F(Cache, SmallFilesOfManyBuildsBecomeOne) {
  for (const char* key : {"a", "b", "c", "d"}) write({key});
  write({"a"});  // once more, as two builders at once do it
  collect_garbage(folder);
  EXPECT_EQ(files(".index"), 1u);
  EXPECT_EQ(keys(), Keys({"a", "b", "c", "d"}));
}

TEST_F(Cache, AReaderKeepsWhatItHasOpened) {
  write({"a"});
  const CacheStore store = CacheStore::open(folder);
  remove_entries(folder, [](const CacheEntry&) { return true; });
  EXPECT_TRUE(store.read(*store.find("a")));
}

TEST_F(Cache, AFolderOfOtherFilesIsLeftAlone) {
  const Path other = folder / "mine";
  std::filesystem::create_directory(other);
  std::ofstream(other / "letter.txt") << "dear";
  for (auto act : {+[](const Path& p) { make_cache_folder(p); }, +[](const Path& p) { CacheStore::open(p); }, +[](const Path& p) { collect_garbage(p); }}) {
    try {
      act(other);
      FAIL();
    } catch (const Failure& f) {
      EXPECT_EQ(f.errors.front().id, "E8070");
    }
  }
}

TEST_F(Cache, AFileThatJustChangedIsNotTakenForKnown) {
  const Path file = folder / "picture";
  std::ofstream(file) << "one";
  EXPECT_EQ(file_identity(file), "") << "it may change again within the clock's grain";
  std::filesystem::last_write_time(file, std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_EQ(file_identity(file), "") << "its inode has changed just now, whatever its time says";
}

TEST_F(Cache, WhatIsKnownComesBackAndFewFilesStay) {
  for (int i = 0; i < 20; ++i) {
    KnownFiles known(folder);
    known.remember("id" + std::to_string(i), "hash " + std::to_string(i));
    known.save();
  }
  KnownFiles known(folder);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(known.find("id" + std::to_string(i)), "hash " + std::to_string(i));
  EXPECT_FALSE(known.find(""));
  EXPECT_LE(files(".txt"), 9u);
}

}  // namespace
}  // namespace t2i
