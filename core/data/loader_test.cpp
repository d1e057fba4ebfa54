#include "core/data/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "core/data/test_files.h"

using namespace t2i;
using namespace t2i::testing_files;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace {

const std::vector<ColumnSpec> triplets = {{"input_image", true}, {"instruction", false}, {"output_image", true}};

// Rows of pairs; those in `bad` have a cut second image.
struct Pairs {
  TestFolder folder;
  Dataset dataset;
  explicit Pairs(int n, const std::vector<int>& bad = {}) {
    std::string rows;
    for (int i = 0; i < n; ++i) {
      std::string name = std::to_string(i);
      int width = 20 + i % 13, height = 24 + i % 7;
      folder.write(name + "a.png", png_bytes(make_picture(width, height, i)));
      std::string second = jpeg_bytes(make_picture(width, height, i + 100));
      if (std::find(bad.begin(), bad.end(), i) != bad.end()) second.resize(second.size() * 3 / 4);
      folder.write(name + "b.jpg", second);
      rows += "{\"input_image\": \"" + name + "a.png\", \"instruction\": \"edit " + name + "\", \"output_image\": \"" +
              name + "b.jpg\"}\n";
    }
    folder.write("rows.jsonl", rows);
    dataset = open_dataset(folder / "rows.jsonl", triplets);
  }
};

LoaderOptions options_for(int workers) {
  LoaderOptions options;
  options.columns = triplets;
  options.transform = {.width = 16, .height = 16, .random_flip = true};
  options.num_workers = workers;
  return options;
}

std::vector<Draw> draws_of(uint64_t step, uint64_t count, uint64_t rows) {
  std::vector<Draw> draws;
  for (uint64_t i = 0; i < count; ++i)
    draws.push_back({permuted((step * count + i) % rows, rows, 9, 0), {42, step, i}});
  return draws;
}

// Everything that a run of some batches delivers, in one comparable value.
struct Delivered {
  std::vector<uint64_t> indices;
  std::vector<std::string> texts, skipped, notices;
  std::vector<Geometry> geometry;
  std::vector<float> floats;
  bool operator==(const Delivered&) const = default;
};

Delivered deliver(const Dataset& dataset, const LoaderOptions& options, uint64_t steps, uint64_t batch) {
  Loader loader(dataset, options);
  Delivered all;
  uint64_t requested = 0;
  for (uint64_t step = 0; step < steps; ++step) {
    for (; requested < std::min(step + 3, steps); ++requested)
      loader.request(draws_of(requested, batch, dataset.rows.size()));
    for (const Sample& sample : loader.next()) {
      all.indices.push_back(sample.index);
      all.texts.push_back(sample.texts.at("instruction"));
      all.geometry.push_back(sample.geometry);
      for (const auto& [name, image] : sample.images)
        all.floats.insert(all.floats.end(), image.chw.begin(), image.chw.end());
    }
  }
  for (const SkippedSample& s : loader.skipped())
    all.skipped.push_back(std::to_string(s.index) + " " + std::to_string(s.replaced_by) + " " + to_string(s.reason));
  all.notices = loader.notices();
  return all;
}

}  // namespace

TEST(Loader, TheSameForAnyNumberOfWorkers) {
  Pairs pairs(40, {3, 17, 18});
  LoaderOptions options = options_for(0);
  options.on_error = OnError::skip;
  Delivered expected = deliver(pairs.dataset, options, 20, 5);
  EXPECT_EQ(expected.indices.size(), 100u);
  EXPECT_EQ(expected.skipped.size(), 3u);
  for (int workers : {1, 2, 8})
    for (int ahead : {1, 2, 5}) {
      options.num_workers = workers;
      options.batches_ahead = ahead;
      EXPECT_EQ(deliver(pairs.dataset, options, 20, 5), expected) << workers << " " << ahead;
    }
}

// A deleted folder may be thousands of rows in a row: they are known when the data is opened, and cost no try.
TEST(Loader, MissingFilesAreKnownBeforehandAndPassedOver) {
  Pairs pairs(130, {125});
  for (int i = 5; i < 125; ++i) std::filesystem::remove(pairs.folder / (std::to_string(i) + "b.jpg"));
  EXPECT_THROW(open_dataset(pairs.folder / "rows.jsonl", triplets), Failure);
  DatasetOptions skipping;
  skipping.skip_bad_files = true;
  Dataset dataset = open_dataset(pairs.folder / "rows.jsonl", triplets, skipping);
  EXPECT_EQ(dataset.rows.size(), 130u);
  ASSERT_EQ(dataset.bad.size(), 120u);
  EXPECT_EQ(dataset.bad.front().index, 5u);
  EXPECT_EQ(dataset.bad.back().reason.id, "E3008");
  LoaderOptions options = options_for(1);
  options.on_error = OnError::skip;
  Loader loader(dataset, options);
  loader.request({{4, {}}, {5, {}}, {125, {}}});
  std::vector<Sample> batch = loader.next();
  EXPECT_EQ(batch[0].index, 4u);
  EXPECT_EQ(batch[1].index, 126u);  // 5 to 124 are missing, 125 is cut
  EXPECT_EQ(batch[2].index, 126u);
  ASSERT_EQ(loader.skipped().size(), 1u);
  EXPECT_EQ(loader.skipped()[0].index, 125u);
}

TEST(Loader, BothImagesOfAPairAreCutAlike) {
  Pairs pairs(1);
  // The same picture twice: then the tensors must be equal for every crop and flip.
  std::string picture = png_bytes(make_picture(30, 20));
  pairs.folder.write("0a.png", picture);
  pairs.folder.write("0b.jpg", picture);
  Loader loader(pairs.dataset, options_for(2));
  std::set<std::pair<int, bool>> seen;
  for (uint64_t step = 0; step < 40; ++step) {
    loader.request({{0, {1, step, 0}}});
    Sample sample = std::move(loader.next().front());
    EXPECT_EQ(sample.images.at("input_image").chw, sample.images.at("output_image").chw);
    EXPECT_EQ(sample.images.at("input_image").height, 16);
    seen.insert({sample.geometry.crop_left, sample.geometry.flip});
  }
  EXPECT_GT(seen.size(), 6u);
  EXPECT_THAT(loader.notices(), ElementsAre("1 image: named .jpg but PNG; read as PNG (first: 0b.jpg)"));
}

TEST(Loader, StopNamesEveryBadSampleOfTheBatch) {
  Pairs pairs(6, {2, 4});
  for (int workers : {0, 3}) {
    Loader loader(pairs.dataset, options_for(workers));
    std::vector<Draw> draws;
    for (uint64_t i : {0u, 2u, 4u, 5u}) draws.push_back({i, {}});
    loader.request(draws);
    loader.request({{5, {}}});
    try {
      loader.next();
      FAIL() << "bad samples were delivered";
    } catch (const Failure& failure) {
      ASSERT_EQ(failure.errors.size(), 2u);
      EXPECT_EQ(failure.errors[0].id, "E3001");
      EXPECT_THAT(to_string(failure.errors[0]), HasSubstr("2b.jpg: JPEG ends after"));
      EXPECT_THAT(to_string(failure.errors[0]), HasSubstr("rows.jsonl:3"));
    }
    EXPECT_EQ(loader.next().at(0).index, 5u);
  }
}

TEST(Loader, SkipTakesTheNextGoodRowAndKeepsTheReason) {
  Pairs pairs(6, {4, 5});
  LoaderOptions options = options_for(2);
  options.on_error = OnError::skip;
  Loader loader(pairs.dataset, options);
  loader.request({{4, {}}, {5, {}}, {1, {}}});
  std::vector<Sample> batch = loader.next();
  EXPECT_EQ(batch[0].index, 0u);
  EXPECT_EQ(batch[1].index, 0u);
  EXPECT_EQ(batch[2].index, 1u);
  ASSERT_EQ(loader.skipped().size(), 2u);
  EXPECT_EQ(loader.skipped()[0].index, 4u);
  EXPECT_EQ(loader.skipped()[0].replaced_by, 0u);
  EXPECT_EQ(loader.skipped()[1].reason.id, "E3001");
}

TEST(Loader, NoGoodRowAtAllEndsIt) {
  Pairs pairs(3, {0, 1, 2});
  LoaderOptions options = options_for(2);
  options.on_error = OnError::skip;
  Loader loader(pairs.dataset, options);
  loader.request({{1, {}}});
  try {
    loader.next();
    FAIL();
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.errors.at(0).id, "E3011");
  }
}

TEST(Loader, PairsOfUnequalSize) {
  Pairs pairs(2);
  pairs.folder.write("1b.jpg", jpeg_bytes(make_picture(40, 30), false, exif_bytes(6)));
  Loader strict(pairs.dataset, options_for(1));
  strict.request({{1, {}}});
  try {
    strict.next();
    FAIL();
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.errors.at(0).id, "E3006");
    EXPECT_THAT(to_string(failure.errors[0]), HasSubstr("input_image is 21 × 25 but output_image is 30 × 40 pixels"));
    EXPECT_THAT(to_string(failure.errors[0]), HasSubstr("EXIF"));
  }
  LoaderOptions options = options_for(1);
  options.resize_mismatched = true;
  Loader lenient(pairs.dataset, options);
  lenient.request({{1, {}}});
  EXPECT_EQ(lenient.next().at(0).images.at("output_image").width, 16);
}

TEST(Loader, AFileThatVanishesOrTurnsIntoAPipeIsAnError) {
  Pairs pairs(3);
  std::filesystem::remove(pairs.folder / "1a.png");
  Loader loader(pairs.dataset, options_for(2));
  loader.request({{1, {}}});
  EXPECT_THROW(loader.next(), Failure);
}

TEST(Loader, EndsEarlyWithoutHanging) {
  Pairs pairs(30);
  for (int round = 0; round < 30; ++round) {
    Loader loader(pairs.dataset, options_for(1 + round % 4));
    for (uint64_t step = 0; step < 6; ++step) loader.request(draws_of(step, 5, 30));
    if (round % 3) loader.next();
  }
}

TEST(Loader, MistakesOfTheCaller) {
  Pairs pairs(2);
  Loader loader(pairs.dataset, options_for(1));
  EXPECT_THROW(loader.next(), std::logic_error);
  EXPECT_THROW(loader.request({{2, {}}}), std::logic_error);
  loader.request({});
  EXPECT_EQ(loader.pending(), 1u);
  EXPECT_TRUE(loader.next().empty());
}
