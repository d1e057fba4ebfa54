#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/dist/group.h"

namespace t2i {
namespace {

using Values = std::vector<std::pair<std::string, std::string>>;

// Rank 0 of a world whose other ranks hold what the test says.
struct ToldGroup final : Group {
  std::vector<Values> others;
  int rank() const override { return 0; }
  int world() const override { return static_cast<int>(others.size()) + 1; }
  std::unique_ptr<Pending> start_all_reduce(at::Tensor, const std::string&) override { return nullptr; }
  void broadcast(at::Tensor, int, const std::string&) override {}
  double sum_on_hosts(double number, const std::string&) override { return number; }
  std::vector<std::string> gather_text(const std::string& text, const std::string&) override {
    std::vector<std::string> all{text};
    for (const Values& values : others) all.push_back(nlohmann::json(values).dump());
    return all;
  }
  void barrier(const std::string&) override {}
};

TEST(require_equal, equal_values_pass) {
  ToldGroup group;
  group.others = {{{"configuration", "a"}, {"data", "9"}}, {{"configuration", "a"}, {"data", "9"}}};
  EXPECT_NO_THROW(require_equal(group, {{"configuration", "a"}, {"data", "9"}}));
}

TEST(require_equal, all_differences_are_shown_with_their_ranks) {
  ToldGroup group;
  group.others = {{{"configuration", "a"}, {"data", "9"}},
                  {{"configuration", "b"}, {"data", "9"}},
                  {{"configuration", "a"}, {"data", "8"}},
                  {{"configuration", "a"}}};
  try {
    require_equal(group, {{"configuration", "a"}, {"data", "9"}});
    FAIL() << "differences passed";
  } catch (const Failure& f) {
    EXPECT_EQ(f.exit(), Exit::peer_failed);
    ASSERT_EQ(f.errors.size(), 2u);
    EXPECT_EQ(f.errors[0].id, "E5003");
    EXPECT_EQ(f.errors[0].what,
              "configuration differs between processes; ranks 0, 1, 3, 4: 'a'; rank 2: 'b'" + std::string());
    EXPECT_EQ(f.errors[1].what, "data differs between processes; rank 3: '8'; ranks 0–2: '9'; rank 4: (not there)");
  }
}

TEST(require_equal, a_world_of_one_is_not_asked) { EXPECT_NO_THROW(require_equal(*single_group(), {{"x", "y"}})); }

}  // namespace
}  // namespace t2i
