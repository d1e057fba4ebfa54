#include "core/memory/arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <thread>
#include <vector>

namespace t2i {
namespace {

constexpr size_t MB = size_t{1} << 20;

TEST(arena, blocks_are_aligned_and_apart) {
  Arena arena(64 * MB);
  ASSERT_GT(arena.capacity(), 0u);
  struct Block {
    unsigned char* at;
    size_t bytes;
    unsigned char mark;
  };
  std::vector<Block> blocks;
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    if (blocks.size() < 40 && random() % 2) {
      size_t bytes = 1 + random() % (MB / 2);
      auto at = static_cast<unsigned char*>(arena.allocate(bytes));
      ASSERT_NE(at, nullptr);
      ASSERT_EQ(reinterpret_cast<uintptr_t>(at) % Arena::alignment, 0u);
      unsigned char mark = static_cast<unsigned char>(random());
      at[0] = at[bytes - 1] = mark;
      blocks.push_back({at, bytes, mark});
    } else if (!blocks.empty()) {
      size_t which = random() % blocks.size();
      Block b = blocks[which];
      ASSERT_EQ(b.at[0], b.mark) << "another block was written over this one";
      ASSERT_EQ(b.at[b.bytes - 1], b.mark);
      arena.free(b.at);
      blocks.erase(blocks.begin() + static_cast<long>(which));
    }
  }
  for (const Block& b : blocks) arena.free(b.at);
  EXPECT_EQ(arena.use().live, 0u);
  // Everything was joined again: the whole range is one block.
  void* all = arena.allocate(arena.capacity());
  EXPECT_NE(all, nullptr);
  arena.free(all);
}

TEST(arena, a_step_repeated_takes_no_more_memory) {
  Arena arena(256 * MB);
  auto step = [&] {
    std::vector<void*> kept;
    for (size_t i = 1; i < 60; ++i) kept.push_back(arena.allocate(i * 37000)), arena.free(arena.allocate(i * 91000));
    while (!kept.empty()) arena.free(kept.back()), kept.pop_back();
  };
  step();
  size_t once = arena.use().reached;
  for (int i = 0; i < 50; ++i) step();
  EXPECT_EQ(arena.use().reached, once);
  EXPECT_LE(static_cast<double>(once), 1.15 * static_cast<double>(arena.use().peak_live));
}

TEST(arena, full_and_too_large_are_null) {
  Arena arena(32 * MB);
  EXPECT_EQ(arena.allocate(arena.capacity() + 1), nullptr);
  void* most = arena.allocate(arena.capacity() - 4096);
  ASSERT_NE(most, nullptr);
  EXPECT_EQ(arena.allocate(2 * MB), nullptr);
  arena.free(most);
  EXPECT_NE(arena.allocate(2 * MB), nullptr);
  EXPECT_FALSE(arena.owns(&arena));
}

TEST(arena, threads_free_each_others_blocks) {
  Arena arena(256 * MB);
  std::vector<void*> handed(64);
  for (int round = 0; round < 50; ++round) {
    std::thread makes([&] {
      for (void*& p : handed) p = arena.allocate(100000), std::memset(p, 7, 100000);
    });
    makes.join();
    std::thread a([&] {
      for (size_t i = 0; i < 32; ++i) arena.free(handed[i]);
    });
    std::thread b([&] {
      for (size_t i = 32; i < 64; ++i) arena.free(handed[i]);
    });
    a.join(), b.join();
  }
  EXPECT_EQ(arena.use().live, 0u);
}

}  // namespace
}  // namespace t2i
