#include "core/curate/look.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/base/hash.h"
#include "core/curate/threads.h"
#include "core/data/decode.h"
#include "core/data/row_pictures.h"
#include "core/data/text.h"

namespace t2i {
namespace {

// What one thread found of one row.
struct Looked {
  RowPictures pictures;
  std::vector<std::string> notes;  // what was converted, by picture: "a.png: transparency dropped" without the name
};

std::vector<std::string> names_in(const Row& row, const std::vector<ColumnSpec>& columns) {
  std::vector<std::string> names;
  for (const ColumnSpec& column : columns)
    if (auto found = row.values.find(column.name); column.is_image && found != row.values.end()) names.push_back(found->second);
  return names;
}

// The pictures decoded: sizes are those of the pixels, digests those of the whole files.
Looked decode_row(const Row& row, const std::vector<ColumnSpec>& columns, const Pictures& pictures, const LookOptions& options) {
  Looked out;
  std::string first;
  for (const ColumnSpec& column : columns) {
    auto named = row.values.find(column.name);
    if (!column.is_image || named == row.values.end()) continue;
    auto bytes = pictures.read(named->second, options.limits.max_file_bytes, row.where, column.name + " '" + named->second + "'");
    if (!bytes) return out.pictures.wrong = bytes.error(), out;
    const std::string shown = pictures.shown(named->second);
    auto image = decode(*bytes, shown, options.limits);
    if (!image) {
      Error error = image.error();
      if (shown != row.where) error.what += " (" + row.where + ")";
      return out.pictures.wrong = std::move(error), out;
    }
    auto& sizes = out.pictures.sizes;
    const PictureSize size{static_cast<uint32_t>(image->width), static_cast<uint32_t>(image->height)};
    if (sizes.empty()) first = column.name;
    else if (!options.resize_mismatched && (size.width != sizes[0].width || size.height != sizes[0].height))
      return out.pictures.wrong = Error{row.where,
                                        fmt::format("{} is {} x {} but {} is {} x {} pixels", first, sizes[0].width, sizes[0].height, column.name, size.width, size.height),
                                        "", "make the pair equal, or set data.on_mismatch: resize", "E3006", Exit::bad_data},
             out;
    sizes.push_back(size);
    out.pictures.digests.push_back(xxh3_hex(*bytes));
    out.notes.insert(out.notes.end(), image->notes.begin(), image->notes.end());
  }
  return out;
}

// Rows whose pictures are those of another row, byte for byte. Where they are the very same files, a row that says something
// else of them is none; where they are copies, it is.
class Duplicates {
  const Dataset& dataset_;
  const std::vector<ColumnSpec>& columns_;
  bool digests_are_whole_;
  std::map<std::string, std::vector<size_t>> rows_by_digest_;  // of the beginnings of all pictures of a row

 public:
  Duplicates(const Dataset& dataset, const std::vector<ColumnSpec>& columns, bool whole) : dataset_(dataset), columns_(columns), digests_are_whole_(whole) {}

  void add(size_t row, const std::vector<std::string>& digests) {
    std::string key;
    for (const std::string& digest : digests) key += digest;
    if (!key.empty()) rows_by_digest_[key].push_back(row);
  }

  // (row, the row that it repeats), by rising row.
  std::vector<std::pair<size_t, size_t>> find() const {
    std::vector<std::pair<size_t, size_t>> out;
    for (const auto& [key, rows] : rows_by_digest_) {
      if (rows.size() < 2) continue;
      std::map<std::string, std::vector<size_t>> by_content;
      for (size_t row : rows) by_content[digests_are_whole_ ? key : whole_digest(row)].push_back(row);
      for (const auto& [content, same] : by_content) within(same, out);
    }
    std::sort(out.begin(), out.end());
    return out;
  }

 private:
  void within(const std::vector<size_t>& same, std::vector<std::pair<size_t, size_t>>& out) const {
    std::map<std::vector<std::string>, std::map<std::string, size_t>> seen;  // files → texts → the first such row
    for (size_t row : same) {
      const std::vector<std::string> files = names_in(dataset_.rows[row], columns_);
      std::string texts;
      for (const ColumnSpec& column : columns_)
        if (auto text = dataset_.rows[row].values.find(column.name); !column.is_image && text != dataset_.rows[row].values.end())
          texts += std::to_string(text->second.size()) + ":" + text->second;
      auto known = seen.find(files);
      if (known == seen.end()) {
        if (!seen.empty()) out.push_back({row, same.front()});
        seen[files][texts] = row;
      } else if (auto [said, fresh] = known->second.emplace(texts, row); !fresh) {
        out.push_back({row, said->second});
      }
    }
  }

  // Beginnings may agree by chance, as those of pictures with the same large profile; so all of it.
  std::string whole_digest(size_t row) const {
    Xxh3 hash;
    for (const std::string& name : names_in(dataset_.rows[row], columns_)) {
      auto bytes = dataset_.pictures->read(name, DecodeLimits().max_file_bytes, "", name);
      const std::string digest = bytes ? xxh3_hex(*bytes) : name;
      hash.update(as_bytes(digest));
    }
    return hash.hex();
  }
};

void note_conversions(const std::map<std::string, std::pair<uint64_t, std::string>>& notes, ValidationReport& report) {
  for (const auto& [phrase, seen] : notes) report.notices.push_back(counted(seen.first, "picture") + ": " + phrase + " (first: " + seen.second + ")");
}

void look_at_captions(const Dataset& dataset, const LookOptions& options, const std::vector<bool>& bad, ValidationReport& report) {
  for (const Row& row : dataset.rows)
    for (const std::string& name : options.captions)
      if (auto text = row.values.find(name); !bad[row.index] && text != row.values.end() && text->second.empty())
        report.problems.add("empty_caption", {row.where, "'" + name + "' is empty", "The row trains on the empty text", "write it, or remove the row", "E2137", Exit::bad_data});
}

}  // namespace

void look_at_rows(const Dataset& dataset, const LookOptions& options, ValidationReport& report, std::vector<bool>& bad) {
  std::vector<Looked> looked(dataset.rows.size());
  for_each_in_threads(options.decode ? "decoding" : "reading headers", looked.size(), [&](uint64_t i) {
    if (bad[i]) return;
    if (options.decode) looked[i] = decode_row(dataset.rows[i], report.columns, *dataset.pictures, options);
    else looked[i].pictures = look_at_row(dataset.rows[i], report.columns, *dataset.pictures, options.limits, options.resize_mismatched, true);
  });
  Duplicates duplicates(dataset, report.columns, options.decode);
  std::map<std::string, std::pair<uint64_t, std::string>> notes;  // phrase → how many, where first
  std::set<std::string> files;                                    // each counts once
  for (const Row& row : dataset.rows) {
    Looked& found = looked[row.index];
    if (bad[row.index]) continue;
    const std::vector<std::string> names = names_in(row, report.columns);
    for (size_t i = 0; i < found.pictures.sizes.size(); ++i)
      if (files.insert(names[i]).second) ++report.pictures, ++report.sizes[{found.pictures.sizes[i].width, found.pictures.sizes[i].height}];
    if (found.pictures.wrong) {
      bad[row.index] = true;
      const Error& error = *found.pictures.wrong;
      report.problems.add(problem_kind_of({"", {error}, 1}), error);
      continue;
    }
    duplicates.add(row.index, found.pictures.digests);
    for (const std::string& phrase : found.notes) {
      auto& [count, first] = notes[phrase];
      if (count++ == 0) first = row.where;
    }
  }
  look_at_captions(dataset, options, bad, report);
  for (const auto& [row, original] : duplicates.find())
    report.problems.add("duplicate", {dataset.rows[row].where, "the same picture" + std::string(names_in(dataset.rows[row], report.columns).size() > 1 ? "s" : "") + " as " + dataset.rows[original].where,
                                      "It counts twice", "remove one of them", "E2138", Exit::bad_data});
  note_conversions(notes, report);
}

}  // namespace t2i
