#include "core/model/assets.h"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <fstream>
#include <thread>

#include "core/base/error.h"
#include "core/base/file.h"

using namespace t2i;
namespace stdfs = std::filesystem;

namespace {

struct Assets : testing::Test {
  stdfs::path root = stdfs::temp_directory_path() / ("t2i-assets-" + random_hex(16));
  void SetUp() override { stdfs::create_directories(root / "tokenizer"); }
  void TearDown() override { stdfs::remove_all(root); }
  void put(const std::string& name, const std::string& text) { std::ofstream(root / name, std::ios::binary) << text; }
};

}  // namespace

TEST_F(Assets, GivesTextsOfTheFolderAndOfNoOther) {
  put("tokenizer/a.json", "here");
  AssetFolder assets(root);
  ASSERT_TRUE(assets.read("tokenizer/a.json"));
  EXPECT_EQ(*assets.read("tokenizer/a.json"), "here");
  EXPECT_EQ(assets.read("tokenizer/b.json"), nullptr);
  EXPECT_THROW(assets.read("../a.json"), Failure);
  EXPECT_THROW(assets.read("/etc/passwd"), Failure);
}

// Several loader threads tokenize their first text at once: nobody may be told that a file is not there because another
// is just reading it.
TEST_F(Assets, MayBeReadFromSeveralThreadsAtOnce) {
  constexpr int rounds = 40, threads = 4;
  const std::string text(1 << 18, 'x');
  for (int i = 0; i < rounds; ++i) put("tokenizer/" + std::to_string(i), text);
  AssetFolder assets(root);
  std::atomic<int> wrong = 0;
  std::barrier together(threads);
  auto read_all = [&] {
    for (int i = 0; i < rounds; ++i) {
      together.arrive_and_wait();
      const std::string* got = assets.read("tokenizer/" + std::to_string(i));
      if (!got || *got != text) ++wrong;
    }
  };
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t) all.emplace_back(read_all);
  for (std::thread& t : all) t.join();
  EXPECT_EQ(wrong, 0);
}
