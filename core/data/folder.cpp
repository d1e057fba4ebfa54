// A tree of images with their captions beside them: cat.png and cat.txt.
#include <algorithm>
#include <filesystem>

#include "core/data/layout.h"
#include "core/data/text.h"

namespace t2i {
namespace {

namespace fs = std::filesystem;

bool is_image_name(const std::string& path) {
  std::string extension = extension_of(path);
  return extension == "jpg" || extension == "jpeg" || extension == "png" || extension == "webp";
}

void note_file(FolderListing& listing, const std::string& path, const std::string& name) {
  ++listing.files;
  std::string extension = extension_of(path);
  if (name.starts_with("._") || path.find("__MACOSX/") != path.npos) ++listing.mac_files;
  else if (name.starts_with('.')) ++listing.other[""];
  else if (is_image_name(path)) listing.images.push_back(path);
  else if (extension == "txt") listing.captions.insert(path);
  else if (name == "metadata.jsonl") listing.metadata.push_back(path);
  else if (extension == "jsonl" && path == name) listing.other_jsonl.push_back(path);
  else if (name == "metadata.csv" || name == "metadata.parquet") listing.tables.push_back(path);
  else ++listing.other[extension];
}

std::string without_extension(const std::string& path) { return path.substr(0, path.rfind('.')); }

// The caption beside an image; nothing (with a problem noted) where it cannot be read.
std::optional<std::string> read_caption(DatasetReading& reading, const std::string& path) {
  std::string where = reading.shown(path);
  auto file = reading.folder.open(path, where, "the caption");
  if (!file && file.error().id == "E3005") return reading.problems.add("caption", file.error()), std::nullopt;
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

}  // namespace

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
  for (auto* list : {&listing.images, &listing.metadata, &listing.other_jsonl, &listing.tables})
    std::sort(list->begin(), list->end());
  return listing;
}

void read_captioned_images(DatasetReading& reading, const FolderListing& listing) {
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
  size_t missing = 0;
  std::string first_missing;
  const bool skips_missing = reading.options.skip_bad_files && reading.options.caption_missing == CaptionMissing::error;
  for (const std::string& path : listing.images) {
    Row row;
    row.where = reading.shown(path);
    if (image) reading.add_image(row, image->name, path, "the file");
    std::string caption_path = without_extension(path) + ".txt";
    if (text && listing.captions.contains(caption_path)) {
      if (auto caption = read_caption(reading, caption_path)) row.values[text->name] = *caption;
    } else if (text) {
      if (missing++ == 0) first_missing = path;
      bool from_name = reading.options.caption_missing == CaptionMissing::filename;
      row.values[text->name] = from_name ? caption_from_name(path) : "";
      if (skips_missing)
        reading.row_problem("no caption", {row.where, "no caption; looked for " + caption_path, "", "write one",
                                           "E3003", Exit::bad_data});
    }
    reading.add_row(std::move(row));
  }
  if (missing == 0 || (skips_missing && missing < listing.images.size())) return;
  std::string what = std::to_string(missing) + " of " + counted(listing.images.size(), "image") +
                     (missing == 1 ? " has no caption" : " have no caption");
  std::string looked_for = "first: " + first_missing + "; looked for " + without_extension(first_missing) + ".txt";
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
