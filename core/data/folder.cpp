// A tree of images with their captions beside them: cat.png and cat.txt, or cat.caption. In folders named 10_cats, as
// kohya's trainers have it, each picture counts ten times.
#include <algorithm>
#include <charconv>
#include <filesystem>

#include "core/data/layout.h"
#include "core/data/text.h"

namespace t2i {
namespace {

namespace fs = std::filesystem;

void note_file(FolderListing& listing, const std::string& path, const std::string& name) {
  ++listing.files;
  std::string extension = extension_of(path);
  if (name.starts_with("._") || path.find("__MACOSX/") != path.npos) ++listing.mac_files;
  else if (name.starts_with('.')) ++listing.other[""];
  else if (is_image_name(path)) listing.images.push_back(path);
  else if (extension == "txt" || extension == "caption") listing.captions.insert(path);
  else if (name == "metadata.jsonl") listing.metadata.push_back(path);
  else if (extension == "jsonl" && path == name) listing.other_jsonl.push_back(path);
  else if (name == "metadata.csv" || name == "metadata.parquet") listing.tables.push_back(path);
  else if (extension == "parquet") listing.parquet.push_back(path);
  else if (extension == "arrow") listing.arrow.push_back(path);
  else if (extension == "tar") listing.shards.push_back(path);
  else if (name == "dataset_info.json" || name == "state.json" || name == "dataset_dict.json") listing.saved.insert(path);
  else ++listing.other[extension];
}

std::string without_extension(const std::string& path) { return path.substr(0, path.rfind('.')); }

// "10_cats/a.png" → 10, "cats"; nothing for a path that is not in such a folder. A number that begins with a zero counts
// folders, and one beyond a thousand is a year.
struct Repeats {
  uint32_t times = 1;
  std::string folder;
};
std::optional<Repeats> repeats_of(const std::string& path) {
  constexpr uint32_t most = 1000;
  Repeats repeats;
  auto [end, error] = std::from_chars(path.data(), path.data() + path.size(), repeats.times);
  const size_t digits = static_cast<size_t>(end - path.data()), slash = path.find('/');
  const bool numbered = error == std::errc() && digits > 0 && repeats.times <= most && (path[0] != '0' || digits == 1);
  if (!numbered || slash == path.npos || slash < digits + 2 || path[digits] != '_') return std::nullopt;
  repeats.folder = path.substr(0, slash);
  return repeats;
}

bool all_in_repeat_folders(const std::vector<std::string>& images) {
  return std::all_of(images.begin(), images.end(), [](const std::string& path) { return repeats_of(path).has_value(); });
}

// The caption's path beside an image; empty where there is none. `both`: counts those that have two.
std::string caption_beside(const FolderListing& listing, const std::string& image, size_t& both) {
  const std::string stem = without_extension(image), text = stem + ".txt", caption = stem + ".caption";
  const bool has_text = listing.captions.contains(text), has_caption = listing.captions.contains(caption);
  both += has_text && has_caption;
  return has_text ? text : has_caption ? caption : "";
}

// The caption beside an image; nothing (with a problem noted) where it cannot be read.
std::optional<std::string> read_caption(DatasetReading& reading, const std::string& path) {
  std::string where = reading.shown(path);
  auto file = reading.folder.open(path, where, "the caption");
  if (!file && file.error().id == "E3005" && !reading.surveying) return reading.problems.add("caption", file.error()), std::nullopt;
  if (!file) return reading.row_problem("caption", file.error()), std::nullopt;
  auto bytes = read_all(file.take(), max_caption_bytes, where, "the caption");
  if (!bytes) return reading.row_problem("caption", bytes.error()), std::nullopt;
  std::string_view text(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // the mark that some editors put first
  if (size_t bad = find_bad_utf8(text); bad != text.npos) {
    bool wide = text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff");
    reading.row_problem("utf8", {where, "not UTF-8 at byte " + std::to_string(bad + 1),
                                 wide ? "It begins as UTF-16 does" : "", "save it as UTF-8", "E3012", Exit::bad_data});
    return std::nullopt;
  }
  return std::string(trimmed(text));
}

void tell_repeats(Dataset& dataset, const std::map<std::string, size_t>& folders, size_t left_out) {
  std::string list;
  size_t named = 0;
  for (const auto& [folder, images] : folders) {
    if (++named > 6) break;
    list += (list.empty() ? "" : ", ") + folder + " (" + counted(images, "image") + ")";
  }
  dataset.notices.push_back("folders say how often each of their images counts: " + list + (named > 6 ? ", …" : "") +
                            "; data.folder_repeats: false takes each once");
  if (left_out) dataset.notices.push_back("left out " + counted(left_out, "image") + " in folders whose name begins with 0_");
}

}  // namespace

bool is_image_name(const std::string& path) {
  std::string extension = extension_of(path);
  return extension == "jpg" || extension == "jpeg" || extension == "png" || extension == "webp";
}

FolderListing list_folder(const std::string& root, Problems& problems) {
  FolderListing listing;
  std::error_code error;
  fs::recursive_directory_iterator entry(root, error), end;
  size_t skip = root.size() + (root.ends_with('/') ? 0 : 1);
  for (; !error && entry != end; entry.increment(error)) {
    std::string full = entry->path().string(), name = entry->path().filename().string();
    std::error_code unknown;
    bool link = entry->is_symlink(unknown);
    if (entry->is_directory(unknown)) {
      if (link) ++listing.folder_links;  // not followed by the iterator: it could lead out, or round in a circle
      if (name.starts_with('.')) entry.disable_recursion_pending();
      continue;
    }
    note_file(listing, full.substr(skip), name);
  }
  if (error)
    problems.add("listing", {root, "the folder cannot be listed: " + error.message(), "",
                             "make it and the folders in it readable for this user", "E3010", Exit::io});
  for (auto* list : {&listing.images, &listing.metadata, &listing.other_jsonl, &listing.tables, &listing.parquet, &listing.arrow,
                     &listing.shards})
    std::sort(list->begin(), list->end());
  return listing;
}

void read_captioned_images(DatasetReading& reading, const FolderListing& listing) {
  if (reading.guess) {
    reading.guess->columns = {{"image", true}, {"text", false}};
    return;
  }
  const ColumnSpec *image = nullptr, *text = nullptr;
  size_t images = 0, texts = 0;
  std::string example;
  for (const ColumnSpec& column : reading.columns) {
    if (!column.required) continue;
    (column.is_image ? image : text) = &column;
    ++(column.is_image ? images : texts);
    example += (example.empty() ? "{\"" : ", \"") + column.in_data();
    example += column.is_image ? "_file_name\": \"a.png\"" : "\": \"…\"";
  }
  if (images > 1 || texts > 1) {
    reading.problems.add(
        "columns",
        {reading.dataset.root, counted(listing.images.size(), "image") + " and no metadata.jsonl",
         "The task wants " + counted(images, "image") + " and " + counted(texts, "text") +
             " a row; a folder of images alone gives one of each",
         "put a metadata.jsonl beside them with a line for each row: " + example + "}", "E3013", Exit::bad_data});
    return;
  }
  const bool repeated = reading.options.folder_repeats && all_in_repeat_folders(listing.images);
  reading.dataset.layout = repeated ? folder_repeats_layout : "images with captions beside them";
  size_t missing = 0, both = 0, left_out = 0;
  std::string first_missing;
  std::map<std::string, size_t> folders;
  const bool skips_missing = reading.skips() && reading.options.caption_missing == CaptionMissing::error;
  for (const std::string& path : listing.images) {
    Row row;
    row.where = reading.shown(path);
    if (repeated) {
      const Repeats repeats = *repeats_of(path);
      if (repeats.times == 0) {
        ++left_out;
        continue;
      }
      row.repeats = repeats.times;
      ++folders[repeats.folder];
    }
    if (image) reading.add_image(row, image->name, path, "the file");
    std::string caption_path = text ? caption_beside(listing, path, both) : "";
    if (text && !caption_path.empty()) {
      if (auto caption = read_caption(reading, caption_path)) row.values[text->name] = *caption;
    } else if (text) {
      if (missing++ == 0) first_missing = path;
      bool from_name = reading.options.caption_missing == CaptionMissing::filename;
      row.values[text->name] = from_name ? caption_from_name(path) : "";
      if (skips_missing)
        reading.row_problem("no caption", {row.where, "no caption; looked for " + without_extension(path) + ".txt and .caption", "",
                                           "write one", "E3003", Exit::bad_data});
    }
    reading.add_row(std::move(row));
  }
  if (repeated) tell_repeats(reading.dataset, folders, left_out);
  if (both)
    reading.dataset.notices.push_back(counted(both, "image") + (both == 1 ? " has" : " have") + " a .txt and a .caption; the .txt is read");
  if (missing == 0 || (reading.surveying && skips_missing) || (skips_missing && missing < listing.images.size())) return;
  std::string what = std::to_string(missing) + " of " + counted(listing.images.size(), "image") +
                     (missing == 1 ? " has no caption" : " have no caption");
  std::string looked_for = "first: " + first_missing + "; looked for " + without_extension(first_missing) + ".txt and .caption";
  if (reading.options.caption_missing == CaptionMissing::error)
    reading.problems.add("no caption",
                         {reading.dataset.root, what + " (" + looked_for + ")", "",
                          "write them, or set data.caption_missing to empty or filename", "E3003", Exit::bad_data});
  else
    reading.dataset.notices.push_back(what + (reading.options.caption_missing == CaptionMissing::empty
                                                  ? "; the empty text is used"
                                                  : "; made from the file's name"));
}

}  // namespace t2i
