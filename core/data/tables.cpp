// Rows of tables: Parquet files as the hub has them, and the Arrow files of datasets' save_to_disk. What is in them a
// plugin reads (table.h); here they are found, and their columns become fields.
#include <algorithm>
#include <array>
#include <charconv>
#include <numeric>

#include "core/data/rows.h"
#include "core/data/text.h"

namespace t2i {
namespace {

constexpr uint64_t max_description_bytes = uint64_t{64} << 20;
constexpr uint64_t slow_parquet_bytes = uint64_t{1} << 30;  // beyond, the plugin cannot keep what it read

class TablePictures : public Pictures {
  std::shared_ptr<const Table> table_;
  std::vector<std::string> files_;

  struct Cell {
    uint64_t row = 0;
    size_t column = 0;
  };
  // Names are "ROW/COLUMN", the column by its number in the table.
  static Cell cell_of(const std::string& name) {
    Cell cell;
    const size_t slash = std::min(name.find('/'), name.size() - 1);
    std::from_chars(name.data(), name.data() + slash, cell.row);
    std::from_chars(name.data() + slash + 1, name.data() + name.size(), cell.column);
    return cell;
  }
  Result<TableCell> cell(const std::string& name, const std::string& where, const std::string& subject) const {
    const Cell at = cell_of(name);
    auto read = table_->read(at.row, at.column);
    if (!read) return read.error();
    if (*read) return std::move(**read);
    return Error{where, subject + " is empty: the row has no picture", "", "remove the row", "E3008", Exit::missing};
  }
  static PictureBytes bytes(const std::string& text, uint64_t most) {
    auto begin = reinterpret_cast<const std::byte*>(text.data());
    return {begin, begin + static_cast<size_t>(std::min<uint64_t>(text.size(), most))};
  }

 public:
  TablePictures(std::shared_ptr<const Table> table, std::vector<std::string> files) : table_(std::move(table)), files_(std::move(files)) {}

  static std::string name(uint64_t row, size_t column) { return std::to_string(row) + "/" + std::to_string(column); }

  // A table's pictures are not looked at one by one when it is opened: that would read all of it.
  Result<uint64_t> bytes_of(const std::string&, const std::string&, const std::string&) const override { return uint64_t{0}; }

  Result<PictureBytes> read(const std::string& name, uint64_t max_bytes, const std::string& where, const std::string& subject) const override {
    auto found = cell(name, where, subject);
    if (!found) return found.error();
    if (found->bytes.size() > max_bytes)
      return Error{where, subject + " has " + std::to_string(found->bytes.size()) + " bytes, more than the " + std::to_string(max_bytes) + " that are read", "",
                   "use a smaller file", "E3007", Exit::bad_data};
    return bytes(found->bytes, max_bytes);
  }
  Result<PictureBytes> begin(const std::string& name, uint64_t most, const std::string& where, const std::string& subject) const override {
    auto found = cell(name, where, subject);
    if (!found) return found.error();
    return bytes(found->bytes, most);
  }
  std::string where(uint64_t row) const {
    size_t file = 0;
    for (; file + 1 < files_.size() && row >= table_->rows()[file]; ++file) row -= table_->rows()[file];
    return files_[file] + ", row " + std::to_string(row);
  }
  std::string shown(const std::string& name) const override {
    const Cell at = cell_of(name);
    return where(at.row) + ", " + (at.column < table_->columns().size() ? table_->columns()[at.column].name : name);
  }
  std::string own_name(const std::string& name) const override {
    auto found = cell(name, "", "");
    return found ? found->name : "";
  }
  bool are_named() const override { return false; }
};

// "train" of "train-00000-of-00002-ab12.parquet", as the hub names the files of a split.
std::string split_of(const std::string& path) {
  const std::string name = path.substr(path.rfind('/') + 1);
  const size_t end = name.find_first_of("-._");
  const std::string first = name.substr(0, end);
  constexpr std::array known{"train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation"};
  return std::find(known.begin(), known.end(), first) == known.end() ? "" : first;
}

// Where a repository has several splits, the one that is for training.
std::vector<std::string> training_split(DatasetReading& reading, const std::vector<std::string>& files) {
  std::vector<std::string> train;
  for (const std::string& file : files)
    if (split_of(file).starts_with("train")) train.push_back(file);
  if (train.empty() || train.size() == files.size()) return files;
  reading.dataset.notices.push_back("read " + counted(train.size(), "file") + " of the split train (" + train.front() + "), not the other " +
                                    std::to_string(files.size() - train.size()) + "; give one as data.path for another");
  return train;
}

Error unreadable(const std::string& where, const std::string& what, const std::string& todo) {
  return {where, what, "", todo, "E2135", Exit::bad_data};
}

std::optional<Json> description(DatasetReading& reading, const std::string& path) {
  const std::string shown = reading.shown(path);
  auto file = reading.folder.open(path, shown, "the file");
  if (!file) return reading.problems.add("file", file.error()), std::nullopt;
  auto bytes = read_all(file.take(), max_description_bytes, shown, "the file");
  if (!bytes) return reading.problems.add("file", bytes.error()), std::nullopt;
  JsonRules rules;
  rules.id = "E2135";
  auto json = parse_json({reinterpret_cast<const char*>(bytes->data()), bytes->size()}, shown, rules);
  if (!json) return reading.problems.add("file", json.error()), std::nullopt;
  return json.take();
}

// What Dataset.save_to_disk left in `folder` ("" or "train/"): state.json lists its files.
std::vector<std::string> saved_files(DatasetReading& reading, const std::string& folder) {
  std::optional<Json> state = description(reading, folder + "state.json");
  std::vector<std::string> files;
  if (!state) return files;
  const bool indexed = state->is_object() && state->contains("_indices_data_files") && !(*state)["_indices_data_files"].is_null() &&
                       !(*state)["_indices_data_files"].empty();
  if (indexed)
    return reading.problems.add("layout", unreadable(reading.shown(folder + "state.json"), "the rows of this data set are chosen by an index, which is not read",
                                                     "save it again after .flatten_indices()")),
           files;
  if (state->is_object() && state->contains("_data_files") && (*state)["_data_files"].is_array())
    for (const Json& file : (*state)["_data_files"])
      if (file.is_object() && file.value("filename", Json()).is_string()) files.push_back(folder + file["filename"].get<std::string>());
  if (files.empty())
    reading.problems.add("layout", unreadable(reading.shown(folder + "state.json"), "it lists no files", "save the data set again with save_to_disk"));
  return files;
}

std::vector<std::string> saved_tables(DatasetReading& reading, const FolderListing& listing) {
  if (listing.saved.contains("state.json")) return saved_files(reading, "");
  if (!listing.saved.contains("dataset_dict.json")) return {};
  std::optional<Json> splits = description(reading, "dataset_dict.json");
  if (!splits) return {};
  std::vector<std::string> names;
  if (splits->is_object() && splits->contains("splits") && (*splits)["splits"].is_array())
    for (const Json& name : (*splits)["splits"])
      if (name.is_string()) names.push_back(name.get<std::string>());
  if (names.empty())
    return reading.problems.add("layout", unreadable(reading.shown("dataset_dict.json"), "it names no split", "save the data set again with save_to_disk")),
           std::vector<std::string>();
  const bool has_train = std::find(names.begin(), names.end(), "train") != names.end();
  const std::string split = has_train ? "train" : names.front();
  if (names.size() > 1) reading.dataset.notices.push_back("read the split " + split + " of " + std::to_string(names.size()) + "; give the folder of another as data.path");
  return saved_files(reading, split + "/");
}

}  // namespace

std::vector<std::string> tables_of(DatasetReading& reading, const FolderListing& listing) {
  std::vector<std::string> saved = saved_tables(reading, listing);
  if (!saved.empty() || !reading.problems.empty()) return saved;
  return training_split(reading, listing.parquet.empty() ? listing.arrow : listing.parquet);
}

void read_tables(DatasetReading& reading, const std::vector<std::string>& paths, bool named) {
  std::vector<std::string> files, shown;
  std::vector<uint64_t> bytes;
  for (const std::string& path : paths) {  // each is there, lies in the folder, and is a file
    shown.push_back(reading.shown(path));
    auto file = named ? open_file(reading.dataset.root + "/" + path, shown.back(), "the file") : reading.folder.open(path, shown.back(), "the file");
    if (!file) reading.problems.add("file", file.error());
    else bytes.push_back(file->bytes);
    files.push_back(reading.dataset.root + "/" + path);
  }
  if (!reading.problems.empty()) return;
  reading.dataset.layout = counted(paths.size(), extension_of(paths.front()) == "parquet" ? "Parquet file" : "Arrow file");
  if (!reading.options.open_table)
    return reading.problems.add("layout", {shown.front(), "Parquet and Arrow files are read by a plugin, and none is at hand here", "",
                                           "give a folder or a .jsonl", "E2132", Exit::bad_data});
  const uint64_t all_bytes = std::accumulate(bytes.begin(), bytes.end(), uint64_t{0});
  if (extension_of(paths.front()) == "parquet" && all_bytes > slow_parquet_bytes)
    reading.dataset.notices.push_back(std::to_string(all_bytes >> 30) + " GiB of Parquet: for a sample all rows of its row group are read; "
                                      "t2i convert --to webdataset makes shards of it that are read row by row");
  std::shared_ptr<const Table> table = reading.options.open_table(files);
  const auto& columns = table->columns();
  RowReader rows(reading);
  if (reading.guess) {
    for (const TableColumn& column : columns) rows.declare(column.name, column.kind);
    return rows.finish();
  }
  auto pictures = std::make_shared<TablePictures>(table, shown);
  reading.dataset.pictures = pictures;
  std::vector<bool> wanted(columns.size());  // texts that are no column of the task need not be read
  for (size_t c = 0; c < columns.size(); ++c)
    for (const ColumnSpec& spec : reading.columns)
      for (const std::string& name : names_of(spec)) wanted[c] = wanted[c] || name == columns[c].name;
  const uint64_t count = std::accumulate(table->rows().begin(), table->rows().end(), uint64_t{0});
  for (uint64_t row = 0; row < count; ++row) {
    const std::string where = pictures->where(row);
    Json fields = Json::object();
    std::optional<Error> wrong;
    for (size_t c = 0; c < columns.size(); ++c) {
      Json& field = fields[columns[c].name];  // null, and named where a column is missing
      if (columns[c].kind == TableColumn::Kind::picture) field = TablePictures::name(row, c);
      if (columns[c].kind != TableColumn::Kind::text || !wanted[c]) continue;
      auto cell = table->read(row, c);
      if (!cell) wrong = cell.error();
      else if (*cell && find_bad_utf8((*cell)->bytes) != std::string::npos)
        rows.not_utf8(where, columns[c].name), field = "";
      else if (*cell) field = std::move((*cell)->bytes);
    }
    if (wrong) return reading.problems.add("table", *wrong);
    rows.read(fields, "", where);
  }
  rows.finish();
  reading.image_bytes.insert(reading.image_bytes.end(), bytes.begin(), bytes.end());  // for the fingerprint
}

}  // namespace t2i
