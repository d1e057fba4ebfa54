#include "core/generate/prompts.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

using namespace t2i;

namespace {

std::string file(const std::string& name, const std::string& text) {
  std::filesystem::path path = std::filesystem::path(testing::TempDir()) / name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

std::string error_of(const std::string& path) {
  try {
    read_prompts(path);
  } catch (const Failure& failure) {
    return failure.what();
  }
  return "accepted";
}

}  // namespace

TEST(Prompts, ALineAPrompt) {
  std::vector<Prompt> prompts = read_prompts(file("a.txt", "\xef\xbb\xbf" "a red ball\r\n\n  {\"prompt\": 1}  \nlast"));
  ASSERT_EQ(prompts.size(), 3u);
  EXPECT_EQ(prompts[0].text, "a red ball");
  EXPECT_EQ(prompts[1].text, "{\"prompt\": 1}");  // not a .jsonl
  EXPECT_EQ(prompts[2].text, "last");
  EXPECT_TRUE(prompts[2].where.ends_with("a.txt:4"));
}

TEST(Prompts, ObjectsOfALine) {
  std::string path = file("b.jsonl", "{\"prompt\": \"x\", \"seed\": 7, \"negative\": \"\", \"image\": \"in/a.png\"}\n{\"prompt\": \"y\"}\n");
  std::vector<Prompt> prompts = read_prompts(path);
  ASSERT_EQ(prompts.size(), 2u);
  EXPECT_EQ(prompts[0].seed, 7);
  EXPECT_EQ(prompts[0].negative, "");
  EXPECT_EQ(prompts[0].image, std::filesystem::path(path).parent_path() / "in/a.png");
  EXPECT_FALSE(prompts[1].seed || prompts[1].negative);
}

TEST(Prompts, EveryBadLineIsNamed) {
  std::string told = error_of(file("c.jsonl", "{'prompt': 'x'}\n{\"promt\": \"x\"}\n{\"prompt\": \"x\", \"seed\": -1}\n[]\n{\"seed\": 1}\n{\"prompt\": \"ok\"}\n"));
  for (const char* words : {"c.jsonl:1:", "Python dict", "c.jsonl:2: unknown key 'promt'. → did you mean 'prompt'?",
                            "c.jsonl:3: 'seed' is not an integer", "c.jsonl:4: the line is not a JSON object", "c.jsonl:5: the line has no 'prompt'"})
    EXPECT_NE(told.find(words), std::string::npos) << words << "\n" << told;
  EXPECT_EQ(told.find("c.jsonl:6"), std::string::npos);
  EXPECT_NE(error_of(file("d.txt", "gr\xfcn\n")).find("d.txt:1: byte 3 of the line is not UTF-8"), std::string::npos);
  EXPECT_NE(error_of(file("e.txt", "\n \n")).find("no prompt"), std::string::npos);
  EXPECT_NE(error_of("/nonexistent/prompts.txt").find("E4103"), std::string::npos);
}

TEST(Prompts, PicturesOfPromptsAndSeeds) {
  std::vector<Prompt> prompts(2);
  prompts[0].text = "a", prompts[1].text = "b", prompts[1].negative = "dark", prompts[1].image = "own.png";
  PictureSettings settings{"grey", {"all.png"}, 10, 2, false};
  std::vector<PictureRequest> pictures = requested_pictures(prompts, settings);
  ASSERT_EQ(pictures.size(), 4u);
  std::vector<uint64_t> seeds;
  for (const PictureRequest& p : pictures) seeds.push_back(p.seed);
  EXPECT_EQ(seeds, (std::vector<uint64_t>{10, 11, 10, 11}));
  EXPECT_EQ(pictures[0].negative, "grey");
  EXPECT_EQ(pictures[0].image, "all.png");
  EXPECT_EQ(pictures[3].negative, "dark");
  EXPECT_EQ(pictures[3].image, "own.png");

  settings.numbered_seeds = true;
  EXPECT_EQ(requested_pictures(prompts, settings)[3].seed, 13u);
  prompts[1].seed = 100;
  EXPECT_EQ(requested_pictures(prompts, settings)[3].seed, 101u);

  settings.images = {"1.png", "2.png", "3.png"};
  EXPECT_THROW(requested_pictures(prompts, settings), Failure);
}
