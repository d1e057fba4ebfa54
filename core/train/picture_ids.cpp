#include "core/train/picture_ids.h"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include "core/base/hash.h"
#include "core/data/picture_size.h"
#include "core/data/row_picture.h"

namespace t2i {
namespace {

std::string to_text(const PictureId& id) { return fmt::format("{} {} {}", id.hash, id.width, id.height); }

std::optional<PictureId> id_of_text(const std::string& text) {
  char hash[33];
  PictureId id;
  if (std::sscanf(text.c_str(), "%32s %d %d", hash, &id.width, &id.height) != 3) return std::nullopt;
  id.hash = hash;
  return id;
}

struct Found {
  std::optional<PictureId> id;
  bool unread = false;  // not known, and not of this share
};

Found picture_id(const Row& row, const std::string& column, const PictureReader& reader, const DecodeLimits& limits, KnownFiles& known, bool may_read) {
  const std::string file = reader.file(row, column), identity = file.empty() ? "" : file_identity(Path(file));
  if (auto text = known.find(identity))
    if (auto id = id_of_text(*text)) return {id};
  if (!may_read) return {std::nullopt, true};
  auto bytes = reader.bytes(row, column, limits);
  if (!bytes) return {};
  const auto size = picture_size(std::span<const std::byte>(*bytes));
  if (!size || size->width == 0 || size->height == 0) return {};
  PictureId id{xxh3_hex(*bytes), static_cast<int>(size->width), static_cast<int>(size->height)};
  known.remember(identity, to_text(id));
  return {id};
}

std::optional<RowIds> ids_of(const Row& row, const LoaderOptions& loader, const PictureReader& reader, KnownFiles& known, bool may_read) {
  RowIds out;
  out.usable = true;
  for (const ColumnSpec& column : loader.columns) {
    if (!column.is_image || !row.values.contains(column.name)) continue;
    Found found = picture_id(row, column.name, reader, loader.limits, known, may_read);
    if (found.unread) return std::nullopt;
    if (!found.id) return RowIds{};
    const PictureId& first = out.columns.empty() ? *found.id : out.columns.front();
    const bool differs = first.width != found.id->width || first.height != found.id->height;
    if (differs && !loader.resize_mismatched) return RowIds{};
    out.columns.push_back(std::move(*found.id));
  }
  return out;
}

}  // namespace

std::vector<std::optional<RowIds>> scan_pictures(const Dataset& dataset, const LoaderOptions& loader, KnownFiles& known,
                                                      const PictureScan& scan) {
  const size_t rows = dataset.rows.size();
  std::vector<std::optional<RowIds>> out(rows);
  std::vector<bool> bad(rows);
  for (const BadRow& row : dataset.bad) bad[row.index] = true;
  const PictureReader reader(dataset);
  std::atomic<size_t> next{0}, done{0};
  std::atomic<bool> stopping{false};
  auto work = [&] {
    for (size_t i; !stopping && (i = next++) < rows; ++done) {
      const bool mine = i % static_cast<size_t>(scan.shares) == static_cast<size_t>(scan.share);
      out[i] = bad[i] ? RowIds{} : ids_of(dataset.rows[i], loader, reader, known, mine);
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < std::max(1, scan.threads); ++t) threads.emplace_back(work);
  while (done < rows && !stopping) {
    std::this_thread::sleep_for(std::chrono::milliseconds(rows < 1000 ? 1 : 20));
    if (scan.progress) scan.progress(static_cast<int64_t>(done.load()), static_cast<int64_t>(rows));
    if (scan.stop && scan.stop()) stopping = true;
  }
  for (std::thread& thread : threads) thread.join();
  return out;
}

}  // namespace t2i
