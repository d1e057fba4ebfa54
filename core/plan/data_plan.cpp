#include "core/plan/data_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "core/data/file.h"
#include "core/data/picture_size.h"

namespace t2i {
namespace {

// Sizes of the pictures of a row, or what is wrong with one of them.
struct RowPictures {
  std::vector<PictureSize> sizes;
  std::optional<Error> wrong;
};

RowPictures pictures_of(const Row& row, const DataFolder& folder, const LoaderOptions& loader) {
  RowPictures out;
  for (const ColumnSpec& column : loader.columns) {
    auto path = row.values.find(column.name);
    if (!column.is_image || path == row.values.end()) continue;
    auto file = folder.open(path->second, row.where, fmt::format("{} '{}'", column.in_data(), path->second));
    if (!file) return out.wrong = file.error(), out;
    const std::optional<PictureSize> size = picture_size(*file);
    if (!size)
      return out.wrong = Error{row.where, fmt::format("'{}' begins like no JPEG, PNG or WebP", path->second), "",
                               "replace it with the picture itself", "E3002", Exit::bad_data},
             out;
    const uint64_t pixels = uint64_t{size->width} * size->height;
    if (pixels > loader.limits.max_pixels || std::max(size->width, size->height) > loader.limits.max_side)
      return out.wrong = Error{row.where, fmt::format("'{}' is {} x {} pixels", path->second, size->width, size->height),
                               fmt::format("At most {} are read", loader.limits.max_pixels), "make it smaller, or raise data.max_pixels",
                               "E3007", Exit::bad_data},
             out;
    const bool differs = !out.sizes.empty() && (out.sizes[0].width != size->width || out.sizes[0].height != size->height);
    if (differs && !loader.resize_mismatched)
      return out.wrong = Error{row.where, fmt::format("'{}' is {} x {} pixels, the picture it belongs to {} x {}", path->second, size->width,
                                                      size->height, out.sizes[0].width, out.sizes[0].height),
                               "", "make them alike, or set data.on_mismatch: resize", "E3006", Exit::bad_data},
             out;
    out.sizes.push_back(*size);
  }
  return out;
}

}  // namespace

DataPlan look_at_data(const Config& config, const Session& session, const RunData& data) {
  const Dataset& dataset = data.dataset;
  const DataFolder folder(dataset.root, dataset.allow_outside);
  DataPlan plan;
  plan.rows = static_cast<int64_t>(dataset.rows.size());
  plan.notices = dataset.notices;
  std::set<std::string> texts;
  auto bad = dataset.bad.begin();
  for (const Row& row : dataset.rows) {
    while (bad != dataset.bad.end() && bad->index < row.index) ++bad;
    if (bad != dataset.bad.end() && bad->index == row.index) {
      plan.left_out.push_back({row.where, bad->reason});
      continue;
    }
    RowPictures pictures = pictures_of(row, folder, data.loader);
    if (pictures.wrong) {
      plan.left_out.push_back({row.where, *pictures.wrong});
      continue;
    }
    for (const PictureSize& size : pictures.sizes) {
      ++plan.pictures;
      ++plan.sizes[{size.width, size.height}];
      plan.enlarged += std::min(size.width, size.height) < static_cast<uint64_t>(data.resolution);
      plan.largest_pixels = std::max(plan.largest_pixels, uint64_t{size.width} * size.height);
      plan.all_square = plan.all_square && size.width == size.height;
    }
    for (const TaskColumn& column : session.task->columns())
      if (auto text = row.values.find(column.name); column.use == "prompt" && text != row.values.end()) texts.insert(text->second);
  }
  plan.texts = static_cast<int64_t>(texts.size());
  for (std::string& notice : long_text_notices(config, session, data)) plan.notices.push_back(std::move(notice));
  return plan;
}

}  // namespace t2i
