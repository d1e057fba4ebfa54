#include "core/data/dataset.h"

#include <algorithm>
#include <filesystem>

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
  return extension == "zip" || extension == "tar" || extension == "gz" || extension == "tgz" || extension == "7z";
}

// "214 files: 200 .heic, 14 .txt"
std::string what_was_seen(const FolderListing& listing) {
  if (listing.files == 0) return "the folder is empty";
  std::map<std::string, size_t> kinds = listing.other;
  if (!listing.captions.empty()) kinds["txt"] += listing.captions.size();
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

void read_folder(DatasetReading& reading) {
  const std::string& root = reading.dataset.root;
  FolderListing listing = list_folder(root, reading.problems);
  if (!reading.problems.empty()) return;
  std::vector<std::string> files;
  if (std::find(listing.metadata.begin(), listing.metadata.end(), "metadata.jsonl") != listing.metadata.end())
    files = {"metadata.jsonl"};
  else if (!listing.metadata.empty()) files = listing.metadata;
  else if (listing.other_jsonl.size() == 1) files = listing.other_jsonl;
  if (!files.empty()) {
    add_notices(reading.dataset, listing, false);
    if (files.size() > 1)
      reading.dataset.notices.push_back("read " + counted(files.size(), "metadata.jsonl file") + " (" + files.front() +
                                        " … " + files.back() + "); give a subfolder as data.path for one of them");
    else if (files.front() != "metadata.jsonl") reading.dataset.notices.push_back("read " + files.front());
    return read_jsonl(reading, files, /*named=*/false);
  }
  if (listing.other_jsonl.size() > 1)
    return reading.problems.add(
        "layout",
        nothing(root, std::to_string(listing.other_jsonl.size()) + " .jsonl files and no metadata.jsonl", "",
                "give the one that is meant as data.path, for example " + root + "/" + listing.other_jsonl.front()));
  if (!listing.tables.empty()) return reading.problems.add("layout", table_instead(root, listing.tables.front()));
  if (listing.images.empty()) {
    bool unread = std::any_of(std::begin(unread_formats), std::end(unread_formats),
                              [&](const char* format) { return listing.other.contains(format); });
    return reading.problems.add(
        "layout",
        nothing(root,
                "nothing to train on: looked for metadata.jsonl and for .jpg, .jpeg, .png, .webp in all depths; " +
                    what_was_seen(listing),
                "",
                unread ? "convert the pictures to JPEG or PNG"
                       : "put images with .txt captions there, or a metadata.jsonl"));
  }
  add_notices(reading.dataset, listing, true);
  read_captioned_images(reading, listing);
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

void Problems::add(const std::string& kind, Error error) {
  auto found = std::find_if(kinds_.begin(), kinds_.end(), [&](const Kind& k) { return k.name == kind; });
  if (found == kinds_.end()) found = kinds_.insert(kinds_.end(), Kind{kind, {}, 0});
  ++found->count;
  if (found->first.size() < max_problems_listed) found->first.push_back(std::move(error));
}

std::vector<Error> Problems::take() const {
  std::vector<Error> all;
  for (const Kind& kind : kinds_) {
    all.insert(all.end(), kind.first.begin(), kind.first.end());
    if (kind.count > kind.first.size()) {
      const Error& last = kind.first.back();
      all.push_back({"", counted(kind.count - kind.first.size(), "more problem") + " like the one above", "", "",
                     last.id, last.exit});
    }
  }
  return all;
}

void DatasetReading::add_image(Row& row, const std::string& column, const std::string& path,
                               const std::string& subject) {
  auto file = folder.open(path, row.where, subject);
  bool gone = !file && (file.error().id == "E3008" || file.error().id == "E3010");
  if (!file && !(gone && options.skip_bad_files)) {
    Error error = file.error();
    if (gone) error.todo += ", remove the row, or set data.on_error: skip";
    return problems.add(error.id, error);
  }
  if (gone) row_problem(file.error().id, file.error());
  image_bytes.push_back(gone ? 0 : file->bytes);  // so the file's coming back is seen as a change of the data
  row.values[column] = path;
}

void DatasetReading::row_problem(const std::string& kind, Error error) {
  if (!options.skip_bad_files) return problems.add(kind, std::move(error));
  uint64_t index = dataset.rows.size();
  if (dataset.bad.empty() || dataset.bad.back().index != index) dataset.bad.push_back({index, std::move(error)});
}

void DatasetReading::add_row(Row row) {
  row.index = dataset.rows.size();
  dataset.rows.push_back(std::move(row));
}

Dataset open_dataset(const std::string& path, const std::vector<ColumnSpec>& columns, const DatasetOptions& options) {
  std::error_code error;
  fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) fail(path_missing(path));
  bool folder = fs::is_directory(status);
  if (!folder && extension_of(path) != "jsonl")
    fail(nothing(path, "neither a folder nor a .jsonl file", "",
                 is_archive(path) ? "unpack it and give the folder" : "give the folder of images, or the .jsonl"));
  std::string root = path;
  if (!folder) root = path.find('/') == path.npos ? "." : path.rfind('/') == 0 ? "/" : path.substr(0, path.rfind('/'));
  while (root.size() > 1 && root.ends_with('/')) root.pop_back();

  DatasetReading reading(root, columns, options);
  if (folder) read_folder(reading);
  else read_jsonl(reading, {fs::path(path).filename().string()}, /*named=*/true);
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
