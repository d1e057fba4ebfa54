#include "core/plan/data_plan.h"

#include <algorithm>
#include <set>

#include "core/data/row_pictures.h"

namespace t2i {

DataPlan look_at_data(const Config& config, const Session& session, const RunData& data) {
  const Dataset& dataset = data.dataset;
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
    RowPictures pictures = look_at_row(row, data.loader.columns, *dataset.pictures, data.loader.limits, data.loader.resize_mismatched);
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
