#include "core/plug/check/heap.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <vector>

namespace t2i {
namespace {

std::vector<void*> forgotten;  // freed at the end: the test itself leaks nothing
void free_forgotten() {
  for (void* p : forgotten) std::free(p);
  forgotten.clear();
}

TEST(Heap, WhatIsGivenBackIsNoLeak) {
  EXPECT_EQ(leaked_bytes([] { auto text = std::make_unique<std::string>(1000, 'x'); }, 100), 0);
  EXPECT_EQ(leaked_bytes([] { std::free(std::malloc(1 << 20)); }, 20), 0);  // so large that it is mapped
}

TEST(Heap, OneForgottenByteEachTimeIs) {
  forgotten.reserve(1000);
  EXPECT_GE(leaked_bytes([] { forgotten.push_back(std::malloc(1)); }, 100), 16);
  free_forgotten();
}

TEST(Heap, AMappedPieceIs) {
  forgotten.reserve(1000);
  EXPECT_GE(leaked_bytes([] { forgotten.push_back(std::malloc(1 << 18)); }, 10), 1 << 18);
  free_forgotten();
}

TEST(Heap, ATableThatGrowsOnceIsNoLeak) {
  std::vector<int> table;
  int rounds = 0;
  auto round = [&] {
    if (++rounds == 150) table.resize(100000);
  };
  EXPECT_EQ(leaked_bytes(round, 100), 0);
}

}  // namespace
}  // namespace t2i
