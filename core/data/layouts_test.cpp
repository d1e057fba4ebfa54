// The layouts beside the .jsonl: folders named with repeats, captions of another ending, tables; and surveys, which go on
// behind a problem. Tar shards are in tar_test.cpp and, as other programs write them, in tests/test_layouts.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/data/dataset.h"
#include "core/data/row_pictures.h"
#include "core/data/test_files.h"

using namespace t2i;
using namespace t2i::testing_files;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace {

const std::vector<ColumnSpec> captioned = {{"image", true}, {"text", false}};

std::vector<std::string> texts_of(const Dataset& dataset) {
  std::vector<std::string> texts;
  for (const Row& row : dataset.rows) texts.push_back(row.values.at("text"));
  return texts;
}

std::vector<std::string> kinds_of(const Survey& survey) {
  std::vector<std::string> kinds;
  for (const ProblemKind& kind : survey.problems.kinds()) kinds.push_back(kind.first.front().id + " x" + std::to_string(kind.count));
  return kinds;
}

// What a plugin would open: two files of two rows and one.
class FakeTable : public Table {
  std::vector<uint64_t> rows_{2, 1};
  std::vector<TableColumn> columns_{{"image", TableColumn::Kind::picture}, {"text", TableColumn::Kind::text}, {"width", TableColumn::Kind::other}};

 public:
  const std::vector<uint64_t>& rows() const override { return rows_; }
  const std::vector<TableColumn>& columns() const override { return columns_; }
  Result<std::optional<TableCell>> read(uint64_t row, size_t column) const override {
    if (column == 1) return std::optional(TableCell{"text " + std::to_string(row), ""});
    if (row == 1) return std::optional<TableCell>();
    return std::optional(TableCell{png_bytes(make_picture(3 + static_cast<int>(row), 2)), "own.png"});
  }
};

}  // namespace

TEST(Layouts, FoldersNamedWithRepeats) {
  TestFolder folder;
  for (const char* name : {"3_cats/a", "3_cats/b", "1_dogs/c", "0_not/d"}) {
    folder.write(std::string(name) + ".png", "pixels");
    folder.write(std::string(name) + ".txt", name);
  }
  Dataset dataset = open_dataset(folder.path(), captioned);
  EXPECT_THAT(texts_of(dataset), ElementsAre("1_dogs/c", "3_cats/a", "3_cats/a", "3_cats/a", "3_cats/b", "3_cats/b", "3_cats/b"));
  EXPECT_EQ(dataset.rows[3].index, 3u);
  EXPECT_THAT(dataset.notices, ElementsAre(HasSubstr("1_dogs (1 image), 3_cats (2 images)"), HasSubstr("left out 1 image")));
  Dataset folded = open_dataset(folder.path(), captioned, {.expand_repeats = false});
  ASSERT_EQ(folded.rows.size(), 3u);
  EXPECT_EQ(folded.rows[1].repeats, 3u);
  EXPECT_EQ(open_dataset(folder.path(), captioned, {.folder_repeats = false}).rows.size(), 4u);
}

TEST(Layouts, FoldersThatAreNoRepeats) {
  for (const char* name : {"2024_summer/a", "01_first/a", "10/a", "10_/a", "x10_a/a", "a"}) {
    TestFolder folder;
    folder.write(std::string(name) + ".png", "pixels");
    folder.write(std::string(name) + ".txt", "a");
    EXPECT_EQ(open_dataset(folder.path(), captioned, {.expand_repeats = false}).rows.at(0).repeats, 1u) << name;
  }
  TestFolder mixed;
  for (const char* name : {"5_cats/a", "b"}) mixed.write(std::string(name) + ".png", "pixels"), mixed.write(std::string(name) + ".txt", "a");
  EXPECT_EQ(open_dataset(mixed.path(), captioned).rows.size(), 2u);
}

TEST(Layouts, ARepeatedRowThatIsBadIsBadEachTime) {
  TestFolder folder;
  for (const char* name : {"2_cats/a", "2_cats/b"}) folder.write(std::string(name) + ".png", "pixels");
  folder.write("2_cats/b.txt", "b");
  Dataset dataset = open_dataset(folder.path(), captioned, {.skip_bad_files = true});
  ASSERT_EQ(dataset.rows.size(), 4u);
  ASSERT_EQ(dataset.bad.size(), 2u);
  EXPECT_EQ(dataset.bad[0].index, 0u);
  EXPECT_EQ(dataset.bad[1].index, 1u);
}

TEST(Layouts, CaptionsOfEitherEnding) {
  TestFolder folder;
  for (const char* name : {"a", "b", "c"}) folder.write(std::string(name) + ".png", "pixels");
  folder.write("a.txt", "from txt"), folder.write("b.caption", "from caption");
  folder.write("c.txt", "both: txt"), folder.write("c.caption", "both: caption");
  Dataset dataset = open_dataset(folder.path(), captioned);
  EXPECT_THAT(texts_of(dataset), ElementsAre("from txt", "from caption", "both: txt"));
  EXPECT_THAT(dataset.notices, ElementsAre(HasSubstr("1 image has a .txt and a .caption")));
}

TEST(Layouts, TablesByTheirColumns) {
  TestFolder folder;
  folder.write("data/train-00000-of-00002.parquet", "one"), folder.write("data/train-00001-of-00002.parquet", "two");
  folder.write("data/test-00000-of-00001.parquet", "not this"), folder.write("preview.png", "of the page");
  std::vector<std::string> opened;
  DatasetOptions options;
  options.open_table = [&](const std::vector<std::string>& files) { return opened = files, std::make_unique<FakeTable>(); };
  Dataset dataset = open_dataset(folder.path(), captioned, options);
  EXPECT_THAT(opened, ElementsAre(folder / "data/train-00000-of-00002.parquet", folder / "data/train-00001-of-00002.parquet"));
  EXPECT_THAT(dataset.notices, ElementsAre(HasSubstr("read 2 files of the split train"), HasSubstr("ignored 1 image beside the tables")));
  EXPECT_THAT(texts_of(dataset), ElementsAre("text 0", "text 1", "text 2"));
  EXPECT_EQ(dataset.rows[2].where, folder / "data/train-00001-of-00002.parquet, row 0");
  RowPictures good = look_at_row(dataset.rows[2], captioned, *dataset.pictures, {}, false);
  ASSERT_EQ(good.sizes.size(), 1u);
  EXPECT_EQ(good.sizes[0].width, 5u);
  RowPictures empty = look_at_row(dataset.rows[1], captioned, *dataset.pictures, {}, false);
  EXPECT_EQ(empty.wrong->id, "E3008");
  ColumnGuess guess = guess_columns(folder.path(), options);
  ASSERT_EQ(guess.columns.size(), 2u);
  EXPECT_TRUE(guess.columns[0].is_image);
  EXPECT_THAT(guess.others, ElementsAre("width"));
  EXPECT_THAT(kinds_of(survey_dataset(folder.path(), captioned)), ElementsAre("E2132 x1"));  // nobody opens it
}

TEST(Layouts, WhatSaveToDiskLeft) {
  TestFolder folder;
  folder.write("dataset_dict.json", R"({"splits": ["test", "train"]})");
  folder.write("train/state.json", R"({"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_indices_data_files": null})");
  folder.write("train/data-00000-of-00001.arrow", "arrow"), folder.write("train/dataset_info.json", "{}");
  folder.write("test/state.json", "{}"), folder.write("test/data-00000-of-00001.arrow", "arrow");
  std::vector<std::string> opened;
  DatasetOptions options;
  options.open_table = [&](const std::vector<std::string>& files) { return opened = files, std::make_unique<FakeTable>(); };
  EXPECT_EQ(open_dataset(folder.path(), captioned, options).rows.size(), 3u);
  EXPECT_THAT(opened, ElementsAre(folder / "train/data-00000-of-00001.arrow"));
  EXPECT_EQ(open_dataset(folder / "train", captioned, options).rows.size(), 3u);
  folder.write("train/state.json", R"({"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_indices_data_files": [{"filename": "indices.arrow"}]})");
  EXPECT_THAT(kinds_of(survey_dataset(folder / "train", captioned, options)), ElementsAre("E2135 x1"));
  folder.write("train/state.json", R"({"_data_files": [{"filename": "../../elsewhere.arrow"}]})");
  EXPECT_THAT(kinds_of(survey_dataset(folder / "train", captioned, options)), ElementsAre("E3005 x1"));
}

TEST(Survey, EveryProblemAndTheRowsAllTheSame) {
  TestFolder folder;
  folder.write("a.png", "pixels");
  folder.write("metadata.jsonl",
               "{\"file_name\": \"a.png\", \"text\": \"good\"}\n"
               "{'file_name': 'a.png'}\n"
               "{\"file_name\": \"gone.png\", \"text\": 7}\n"  // two problems of one row
               "{\"file_name\": \"../a.png\", \"text\": \"out\"}\n"
               "{\"file_name\": \"a.png\"}\n");
  Survey survey = survey_dataset(folder.path(), captioned);
  EXPECT_EQ(survey.dataset.rows.size(), 5u);
  EXPECT_EQ(survey.dataset.bad.size(), 4u);
  EXPECT_THAT(kinds_of(survey), ElementsAre("E3004 x1", "E3008 x1", "E3004 x1", "E3005 x1", "E3003 x1"));
}

TEST(Survey, AColumnThatNoRowHasIsOneProblem) {
  TestFolder folder;
  folder.write("a.png", "pixels");
  std::string rows;
  for (int i = 0; i < 50; ++i) rows += "{\"file_name\": \"a.png\", \"caption\": \"x\"}\n";
  folder.write("metadata.jsonl", rows);
  Survey survey = survey_dataset(folder.path(), captioned);
  EXPECT_THAT(kinds_of(survey), ElementsAre("E3013 x1"));
  EXPECT_EQ(survey.dataset.bad.size(), 50u);
}

TEST(Survey, CountsBeyondWhatItLists) {
  TestFolder folder;
  std::string rows;
  for (int i = 0; i < 5000; ++i) rows += "{\"file_name\": \"" + std::to_string(i) + ".png\", \"text\": \"x\"}\n";
  folder.write("metadata.jsonl", rows);
  Survey some = survey_dataset(folder.path(), captioned), all = survey_dataset(folder.path(), captioned, {.problems_listed = 100000});
  EXPECT_EQ(some.problems.kinds().at(0).first.size(), 10u);
  EXPECT_EQ(some.problems.kinds().at(0).count, 5000u);
  EXPECT_EQ(all.problems.kinds().at(0).first.size(), 5000u);
}

TEST(Guess, FieldsByTheFirstRows) {
  TestFolder folder;
  for (const char* name : {"a.png", "b.png"}) folder.write(name, "pixels");
  folder.write("metadata.jsonl",
               "{\"file_name\": \"a.png\", \"mask_file_name\": \"b.png\", \"text\": \"x\", \"width\": 3}\n"
               "{\"file_name\": \"a.png\", \"mask_file_name\": \"b.png\", \"width\": 3}\n"
               "{\"file_name\": \"a.png\", \"mask_file_name\": null, \"width\": 3}\n");
  ColumnGuess guess = guess_columns(folder.path());
  ASSERT_EQ(guess.columns.size(), 3u);
  EXPECT_EQ(guess.columns[0].name, "image");
  EXPECT_TRUE(guess.columns[0].required);
  EXPECT_EQ(guess.columns[1].name, "mask");
  EXPECT_TRUE(guess.columns[1].is_image);
  EXPECT_EQ(guess.columns[2].name, "text");
  EXPECT_FALSE(guess.columns[2].required);
  EXPECT_THAT(guess.others, ElementsAre("width"));
}
