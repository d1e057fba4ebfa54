#include "core/train/bucket_data.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/number_text.h"
#include "core/data/picture_size.h"
#include "core/data/row_picture.h"
#include "core/data/text.h"

namespace t2i {
namespace {

// Of the row's first picture, by which its geometry goes.
std::optional<PictureSize> size_of_row(const Row& row, const RunData& data, const PictureReader& reader) {
  for (const ColumnSpec& column : data.loader.columns) {
    if (!column.is_image || !row.values.contains(column.name)) continue;
    return reader.size(row, column.name);
  }
  return std::nullopt;
}

std::string name_of(const BucketSize& s) { return fmt::format("{}x{}", s.width, s.height); }

}  // namespace

void sort_into_buckets(RunData& data, const Config& config, const Model& model) {
  if (config.data.buckets.empty()) return;
  data.buckets = bucket_sizes({config.data.buckets, data.resolution, config.data.bucket_step, config.data.bucket_max_aspect, model.place_px()}).take();
  data.in_bucket.resize(data.buckets.size());
  const PictureReader reader(data.dataset);
  std::vector<bool> bad(data.dataset.rows.size());
  for (const BadRow& row : data.dataset.bad) bad[row.index] = true;
  std::vector<uint64_t> unknown;
  for (const Row& row : data.dataset.rows) {
    const auto size = bad[row.index] ? std::nullopt : size_of_row(row, data, reader);
    if (size) data.in_bucket[bucket_of(data.buckets, static_cast<int>(size->width), static_cast<int>(size->height))].push_back(row.index);
    else unknown.push_back(row.index);
  }
  const auto fullest = std::max_element(data.in_bucket.begin(), data.in_bucket.end(), [](const auto& a, const auto& b) { return a.size() < b.size(); });
  if (config.data.on_error == "skip") {
    if (fullest->empty())
      fail({data.dataset.root, "none of its " + counted(unknown.size(), "row") + " has a picture that can be read", "", "mend the data", "E3011", Exit::bad_data});
    data.without_bucket = std::move(unknown);
  } else {
    fullest->insert(fullest->end(), unknown.begin(), unknown.end());
  }
  std::vector<std::pair<int, int>> sizes(data.dataset.rows.size(), {0, 0});  // left out: asked for by nobody
  for (size_t b = 0; b < data.buckets.size(); ++b)
    for (uint64_t row : data.in_bucket[b]) sizes[row] = {data.buckets[b].width, data.buckets[b].height};
  data.loader.sizes = std::move(sizes);
}

BucketOrder bucket_order(const RunData& data, const Config& config) {
  if (data.buckets.empty()) return {};
  return BucketOrder(data.in_bucket, config.train.train_batch_size, static_cast<uint64_t>(config.train.seed));
}

std::vector<std::string> bucket_lines(const RunData& data, const Config& config) {
  std::vector<std::string> lines;
  if (data.buckets.empty()) return lines;
  const BucketOrder order = bucket_order(data, config);
  for (size_t b = 0; b < data.buckets.size(); ++b) {
    const std::vector<uint64_t>& rows = data.in_bucket[b];
    if (rows.empty()) continue;
    std::string line = fmt::format("bucket {}: {} in {}", name_of(data.buckets[b]), counted(rows.size(), "sample"),
                                   order.batches_of(b) == 1 ? "1 batch" : grouped(static_cast<uint64_t>(order.batches_of(b))) + " batches");
    if (order.repeated(b)) line += fmt::format(", filled up by {} seen again (first: {})", grouped(static_cast<uint64_t>(order.repeated(b))), data.dataset.rows[rows[0]].where);
    lines.push_back(std::move(line));
  }
  if (const auto& out = data.without_bucket; !out.empty())
    lines.push_back(fmt::format("left out: {} whose picture cannot be read (first: {})", counted(out.size(), "sample"), data.dataset.rows[out[0]].where));
  return lines;
}

}  // namespace t2i
