#include "core/data/dataset.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <utility>

#include "core/base/hash.h"
#include "core/data/layout.h"
#include "core/data/text.h"

namespace t2i {
namespace {

namespace fs = std::filesystem;

Error nothing(const std::string& where, std::string what, std::string why, std::string todo,
              Exit exit = Exit::bad_data) {
  return {where, std::move(what), std::move(why), std::move(todo), "E3009", exit};
}

Error path_missing(const std::string& path) {
  fs::path given(path);
  std::vector<std::string> siblings;
  std::error_code error;
  std::string parent = given.has_parent_path() ? given.parent_path().string() : ".";
  for (fs::directory_iterator entry(parent, error), end; !error && entry != end; entry.increment(error))
    siblings.push_back(entry->path().filename().string());
  std::string todo = "check data.path";
  if (auto similar = nearest(given.filename().string(), siblings)) {
    todo = "did you mean " + (given.has_parent_path() ? (given.parent_path() / *similar).string() : *similar) + "?";
  } else if (!path.starts_with('/') && !path.starts_with('.') && std::count(path.begin(), path.end(), '/') == 1 &&
             !fs::exists(parent, error)) {
    todo =
        "if it is a data set of the Hugging Face hub: hf download " + path + " --repo-type dataset --local-dir " + path;
  }
  return nothing(path, "there is no such folder or file", "", todo, Exit::missing);
}

bool is_archive(const std::string& path) {
  std::string extension = extension_of(path);
  return extension == "zip" || extension == "gz" || extension == "tgz" || extension == "7z";
}

// "214 files: 200 .heic, 14 .txt"
std::string what_was_seen(const FolderListing& listing) {
  if (listing.files == 0) return "the folder is empty";
  std::map<std::string, size_t> kinds = listing.other;
  for (const std::string& caption : listing.captions) ++kinds[extension_of(caption)];
  for (const std::string& image : listing.images) ++kinds[extension_of(image)];
  if (size_t lists = listing.metadata.size() + listing.other_jsonl.size()) kinds["jsonl"] += lists;
  for (const auto* list : {&listing.parquet, &listing.arrow, &listing.shards})
    if (!list->empty()) kinds[extension_of(list->front())] += list->size();
  if (!listing.saved.empty()) kinds["json"] += listing.saved.size();
  std::vector<std::pair<size_t, std::string>> most;
  for (const auto& [extension, count] : kinds)
    most.push_back({count, extension.empty() ? "without extension" : "." + extension});
  if (listing.mac_files) most.push_back({listing.mac_files, "of macOS metadata"});
  std::stable_sort(most.begin(), most.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string seen = "saw " + counted(listing.files, "file");
  for (size_t i = 0; i < std::min<size_t>(most.size(), 6); ++i)
    seen += (i ? ", " : ": ") + std::to_string(most[i].first) + " " + most[i].second;
  return seen;
}

Error table_instead(const std::string& root, const std::string& table) {
  bool csv = table.ends_with(".csv");
  std::string to = table.substr(0, table.rfind('.')) + ".jsonl";
  return nothing(
      root, table + " is there, but no metadata.jsonl", "Rows are read from JSON lines",
      csv ? "in the folder: python -c \"import csv,json; [print(json.dumps(r)) for r in csv.DictReader(open('" + table +
                "'))]\" > " + to
          : "in the folder: python -c \"import pandas; pandas.read_parquet('" + table + "').to_json('" + to +
                "', orient='records', lines=True)\"");
}

// Pictures in formats that are not read.
constexpr const char* unread_formats[] = {"gif", "bmp", "tif", "tiff", "heic", "heif", "avif", "jxl"};

void add_notices(Dataset& dataset, const FolderListing& listing, bool images_listed) {
  if (listing.mac_files)
    dataset.notices.push_back("ignored " + counted(listing.mac_files, "'._*' or __MACOSX file") + " (macOS metadata)");
  if (listing.folder_links)
    dataset.notices.push_back("did not follow " + counted(listing.folder_links, "symbolic link") + " to folders");
  for (const char* unread : unread_formats)
    if (auto found = listing.other.find(unread); images_listed && found != listing.other.end())
      dataset.notices.push_back("ignored " + counted(found->second, std::string(".") + unread + " file") +
                                "; JPEG, PNG and WebP are read");
}

// Pictures beside tables or shards are those of a hub page, unless they have captions.
bool has_captioned_images(const FolderListing& listing) { return !listing.images.empty() && !listing.captions.empty(); }

void read_listed_jsonl(DatasetReading& reading, const FolderListing& listing, const std::vector<std::string>& files) {
  Dataset& dataset = reading.dataset;
  add_notices(dataset, listing, false);
  dataset.layout = files.front().substr(files.front().rfind('/') + 1);
  if (files.size() > 1)
    dataset.notices.push_back("read " + counted(files.size(), "metadata.jsonl file") + " (" + files.front() + " … " +
                              files.back() + "); give a subfolder as data.path for one of them");
  else if (files.front() != "metadata.jsonl") dataset.notices.push_back("read " + files.front());
  read_jsonl(reading, files, /*named=*/false);
}

void read_folder(DatasetReading& reading) {
  const std::string& root = reading.dataset.root;
  FolderListing listing = list_folder(root, reading.problems);
  if (!reading.problems.empty()) return;
  reading.dataset.seen = what_was_seen(listing);
  std::vector<std::string> files;
  if (std::find(listing.metadata.begin(), listing.metadata.end(), "metadata.jsonl") != listing.metadata.end())
    files = {"metadata.jsonl"};
  else if (!listing.metadata.empty()) files = listing.metadata;
  else if (listing.other_jsonl.size() == 1) files = listing.other_jsonl;
  if (!files.empty()) return read_listed_jsonl(reading, listing, files);
  if (listing.other_jsonl.size() > 1)
    return reading.problems.add(
        "layout",
        nothing(root, std::to_string(listing.other_jsonl.size()) + " .jsonl files and no metadata.jsonl", "",
                "give the one that is meant as data.path, for example " + root + "/" + listing.other_jsonl.front()));
  if (!listing.tables.empty()) return reading.problems.add("layout", table_instead(root, listing.tables.front()));
  if (!has_captioned_images(listing)) {
    std::vector<std::string> tables = tables_of(reading, listing);
    if (!reading.problems.empty()) return;
    if (!tables.empty() || !listing.shards.empty()) {
      if (!listing.images.empty())
        reading.dataset.notices.push_back("ignored " + counted(listing.images.size(), "image") + " beside the " +
                                          (tables.empty() ? ".tar files" : "tables"));
      return tables.empty() ? read_shards(reading, listing.shards, /*named=*/false) : read_tables(reading, tables, /*named=*/false);
    }
  }
  if (listing.images.empty()) {
    bool unread = std::any_of(std::begin(unread_formats), std::end(unread_formats),
                              [&](const char* format) { return listing.other.contains(format); });
    return reading.problems.add(
        "layout",
        nothing(root,
                "nothing to train on: looked for metadata.jsonl, for .jpg, .jpeg, .png, .webp, and for .parquet, .arrow, "
                ".tar in all depths; " +
                    what_was_seen(listing),
                "",
                unread ? "convert the pictures to JPEG or PNG"
                       : "put images with .txt captions there, or a metadata.jsonl"));
  }
  add_notices(reading.dataset, listing, true);
  read_captioned_images(reading, listing);
}

// "shard-{000..012}.tar" → its thirteen names; nothing for a text without such a part.
std::vector<std::string> braces_expanded(const std::string& text) {
  const size_t open = text.find('{'), dots = text.find("..", open), close = text.find('}', dots);
  if (open == text.npos || dots == text.npos || close == text.npos) return {};
  const std::string first = text.substr(open + 1, dots - open - 1), last = text.substr(dots + 2, close - dots - 2);
  uint32_t from = 0, to = 0;
  auto number = [](const std::string& digits, uint32_t& n) {
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
    return error == std::errc() && end == digits.data() + digits.size();
  };
  constexpr uint32_t most = 1'000'000;
  if (!number(first, from) || !number(last, to) || from > to || to - from >= most) return {};
  std::vector<std::string> all;
  for (uint32_t n = from; n <= to; ++n) {
    std::string digits = std::to_string(n);
    if (digits.size() < first.size()) digits.insert(0, first.size() - digits.size(), '0');
    all.push_back(text.substr(0, open) + digits + text.substr(close + 1));
  }
  return all;
}

// The folder that a file's paths are relative to.
std::string folder_of(const std::string& path) {
  std::string root = path.find('/') == path.npos ? "." : path.rfind('/') == 0 ? "/" : path.substr(0, path.rfind('/'));
  while (root.size() > 1 && root.ends_with('/')) root.pop_back();
  return root;
}

std::string name_of(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

// What `path` names, before it is read.
struct Place {
  bool is_folder = false;
  std::vector<std::string> shards;  // of a text with braces
  std::string root;
  std::optional<Error> wrong;
};
Place place_of(const std::string& path) {
  Place place;
  std::error_code error;
  fs::file_status status = fs::status(path, error);
  place.root = path;
  if (!fs::exists(status)) {
    place.shards = braces_expanded(path);
    if (place.shards.empty()) place.wrong = path_missing(path);
    else place.root = folder_of(path);
    for (std::string& shard : place.shards) shard = name_of(shard);
    return place;
  }
  place.is_folder = fs::is_directory(status);
  if (!place.is_folder) place.root = folder_of(path);
  while (place.root.size() > 1 && place.root.ends_with('/')) place.root.pop_back();
  const std::string ending = extension_of(path);
  if (!place.is_folder && ending != "jsonl" && ending != "tar" && ending != "parquet" && ending != "arrow")
    place.wrong = nothing(path, "neither a folder nor a .jsonl, .parquet, .arrow or .tar file", "",
                          is_archive(path) ? "unpack it and give the folder" : "give the folder of images, or the .jsonl");
  return place;
}

void read_place(DatasetReading& reading, const Place& place, const std::string& path) {
  if (place.wrong) return reading.problems.add("layout", *place.wrong);
  if (!place.shards.empty()) return read_shards(reading, place.shards, /*named=*/true);
  if (place.is_folder) return read_folder(reading);
  const std::string name = name_of(path), ending = extension_of(path);
  if (ending == "tar") return read_shards(reading, {name}, /*named=*/true);
  if (ending != "jsonl") return read_tables(reading, {name}, /*named=*/true);
  reading.dataset.layout = name;
  read_jsonl(reading, {name}, /*named=*/true);
}

std::string fingerprint_of(const DatasetReading& reading) {
  Xxh3 hash;
  auto number = [&](uint64_t n) {
    std::byte bytes[8];
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<std::byte>(n >> (8 * i));
    hash.update(bytes);
  };
  auto text = [&](const std::string& s) {  // its length first: "ab"+"c" is not "a"+"bc"
    number(s.size());
    hash.update(as_bytes(s));
  };
  for (const Row& row : reading.dataset.rows)
    for (const auto& [name, value] : row.values) text(name), text(value);
  for (uint64_t bytes : reading.image_bytes) number(bytes);
  return hash.hex();
}

}  // namespace

void DatasetReading::add_image(Row& row, const std::string& column, const std::string& name,
                               const std::string& subject) {
  auto bytes = dataset.pictures->bytes_of(name, row.where, subject);
  bool gone = !bytes && (bytes.error().id == "E3008" || bytes.error().id == "E3010");
  if (!bytes && !(gone && skips())) {
    Error error = bytes.error();
    if (gone) error.todo += ", remove the row, or set data.on_error: skip";
    return surveying ? row_problem(error.id, error) : problems.add(error.id, error);
  }
  if (gone) {
    Error error = bytes.error();
    if (surveying) error.todo += ", remove the row, or set data.on_error: skip";
    row_problem(error.id, error);
  }
  image_bytes.push_back(gone ? 0 : *bytes);  // so the file's coming back is seen as a change of the data
  row.values[column] = name;
}

void DatasetReading::row_problem(const std::string& kind, Error error) {
  if (!skips()) return problems.add(kind, std::move(error));
  uint64_t index = dataset.rows.size();
  if (surveying) problems.add(kind, error);
  if (dataset.bad.empty() || dataset.bad.back().index != index) dataset.bad.push_back({index, std::move(error)});
}

void DatasetReading::add_row(Row row) {
  const uint64_t first = dataset.rows.size();
  const bool is_bad = !dataset.bad.empty() && dataset.bad.back().index == first;
  const uint32_t copies = options.expand_repeats ? std::exchange(row.repeats, 1) : 1;
  for (uint64_t copy = 1; copy < copies; ++copy) {
    row.index = first + copy - 1;
    dataset.rows.push_back(row);
    if (is_bad) dataset.bad.push_back({first + copy, dataset.bad.back().reason});
  }
  row.index = dataset.rows.size();
  dataset.rows.push_back(std::move(row));
}

Survey survey_dataset(const std::string& path, const std::vector<ColumnSpec>& columns, const DatasetOptions& options) {
  const Place place = place_of(path);
  DatasetReading reading(place.root, columns, options);
  reading.surveying = true;
  read_place(reading, place, path);
  if (reading.problems.empty() && reading.dataset.rows.empty())
    reading.problems.add("layout", nothing(path, "no row in it", "", "write a JSON object a line"));
  return {std::move(reading.dataset), std::move(reading.problems)};
}

ColumnGuess guess_columns(const std::string& path, const DatasetOptions& options) {
  const Place place = place_of(path);
  ColumnGuess guess;
  const std::vector<ColumnSpec> none;
  DatasetReading reading(place.root, none, options);
  reading.guess = &guess;
  read_place(reading, place, path);
  return guess;
}

Dataset open_dataset(const std::string& path, const std::vector<ColumnSpec>& columns, const DatasetOptions& options) {
  const Place place = place_of(path);
  if (place.wrong) fail(*place.wrong);
  DatasetReading reading(place.root, columns, options);
  read_place(reading, place, path);
  if (!reading.problems.empty()) throw Failure(reading.problems.take());
  if (reading.dataset.rows.empty()) fail(nothing(path, "no row in it", "", "write a JSON object a line"));
  if (const auto& bad = reading.dataset.bad; bad.size() == reading.dataset.rows.size())
    fail({path, "none of its " + counted(bad.size(), "row") + " can be used",
          "The first is " + bad.front().reason.where + ": " + bad.front().reason.what, "mend the data", "E3011",
          Exit::bad_data});
  reading.dataset.fingerprint = fingerprint_of(reading);
  return std::move(reading.dataset);
}

}  // namespace t2i
