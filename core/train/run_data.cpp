#include "core/train/run_data.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/data_options.h"
#include "core/plug/long_texts.h"
#include "core/train/bucket_data.h"
#include "core/train/caption_data.h"

namespace t2i {

int64_t resolution_of(const Config& config, const Model& model) {
  int64_t resolution = config.data.resolution.value_or(model.about().value("resolution", int64_t{512}));
  const int64_t place = model.place_px();
  if (resolution % place)
    fail({"data.resolution", fmt::format("{} is not a multiple of {}", resolution, place),
          "The model sees so many pixels a side as one place", fmt::format("use {}", std::max<int64_t>(1, resolution / place) * place), "E1031",
          Exit::config});
  if (auto large = model.too_large(resolution, resolution, "data.resolution", Exit::config)) fail(*large);
  return resolution;
}

RunData open_run_data(const Config& config, Session& session) {
  RunData data;
  data.resolution = resolution_of(config, *session.model);
  LoaderOptions& loader = data.loader;
  for (const TaskColumn& c : session.task->columns()) {
    auto mapped = config.data.columns.find(c.name);
    loader.columns.push_back({c.name, c.is_image, mapped == config.data.columns.end() ? "" : mapped->second, true});
  }
  loader.transform.width = loader.transform.height = static_cast<int>(data.resolution);
  loader.transform.center_crop = config.data.center_crop;
  loader.transform.random_flip = config.data.random_flip;
  loader.on_error = config.data.on_error == "skip" ? OnError::skip : OnError::stop;
  loader.resize_mismatched = config.data.on_mismatch == "resize";
  loader.num_workers = static_cast<int>(config.data.num_workers);
  loader.limits.max_pixels = static_cast<uint64_t>(config.data.max_pixels);
  data.dataset = open_dataset(config.data.path, columns_to_read(config, *session.task, loader.columns), dataset_options(config, session.registry));
  set_captions(data, config, *session.task);
  sort_into_buckets(data, config, *session.model);
  return data;
}

int64_t samples_of_epoch(const RunData& data, const Config& config) {
  const BucketOrder order = bucket_order(data, config);
  return order.empty() ? static_cast<int64_t>(data.dataset.rows.size()) : order.samples();
}

int64_t steps_of(const Config& config, int64_t rows, int64_t per_step) {
  if (config.train.max_train_steps) return *config.train.max_train_steps;
  return (rows * config.train.num_train_epochs + per_step - 1) / per_step;
}

Json data_summary(const RunData& data, int64_t per_step) {
  const int64_t rows = static_cast<int64_t>(data.dataset.rows.size()), bad = static_cast<int64_t>(data.dataset.bad.size());
  Json columns = Json::object();
  for (const ColumnSpec& column : data.loader.columns) columns[column.name] = column.in_data();
  Json buckets = Json::array();
  if (data.buckets.empty()) buckets.push_back({{"width", data.resolution}, {"height", data.resolution}, {"samples", rows - bad}});
  for (size_t b = 0; b < data.buckets.size(); ++b)
    buckets.push_back({{"width", data.buckets[b].width}, {"height", data.buckets[b].height}, {"samples", data.in_bucket[b].size()}});
  return {{"path", data.dataset.root},
          {"samples", rows},
          {"left_out", bad},
          {"columns", columns},
          {"resolution", data.resolution},
          {"samples_per_step", per_step},
          {"steps_per_epoch", static_cast<double>(rows) / static_cast<double>(per_step)},
          {"buckets", buckets}};
}

std::vector<std::string> long_text_notices(const Config& config, const Session& session, const RunData& data) {
  std::vector<TextAt> captions, prompts;
  CaptionRules as_written = data.caption_rules;  // another order has as many tokens
  as_written.shuffle = false;
  for (const TaskColumn& column : session.task->columns())
    if (column.use == "prompt")
      for (const Row& row : data.dataset.rows)
        for (const std::string& text : all_captions(captions_of(data, row, column.name), as_written)) captions.push_back({text, row.where});
  for (const std::string& prompt : config.validation.prompts) prompts.push_back({prompt, ""});
  std::vector<std::string> notices = long_texts_notices(*session.model, captions, "caption");
  for (std::string& notice : long_texts_notices(*session.model, prompts, "validation prompt")) notices.push_back(std::move(notice));
  return notices;
}

}  // namespace t2i
