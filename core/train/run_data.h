// What a run trains on: the rows, how they are loaded, and at which size.
#pragma once
#include <memory>

#include "core/data/bucket.h"
#include "core/data/caption.h"
#include "core/data/dataset.h"
#include "core/data/loader.h"
#include "core/session.h"

namespace t2i {

struct RunData {
  Dataset dataset;
  LoaderOptions loader;
  int64_t resolution = 0;  // side in pixels
  std::vector<BucketSize> buckets;               // empty: one square
  std::vector<std::vector<uint64_t>> in_bucket;  // rows by bucket
  std::vector<uint64_t> without_bucket;          // rows whose pictures cannot be read, left out under data.on_error: skip
  CaptionRules caption_rules{};
  std::shared_ptr<const std::vector<std::vector<Caption>>> captions;  // by row, under data.caption_weights; else null
};

// The order of the run's batches; empty where all pictures have one size.
BucketOrder bucket_order(const RunData& data, const Config& config);

// "512x768: 34 samples in 9 batches, 2 of them twice an epoch": a line each, to be shown once.
std::vector<std::string> bucket_lines(const RunData& data, const Config& config);

// The columns are those that the task wants. Failure with every problem of the data; E1031 where the model's VAE cannot
// halve the resolution often enough.
RunData open_run_data(const Config& config, Session& session);

// Side of the training pictures in pixels. Failure E1031 as above, E2041 where the denoiser has not so many places.
int64_t resolution_of(const Config& config, const Model& model);

// Samples of an epoch, those that fill batches included.
int64_t samples_of_epoch(const RunData& data, const Config& config);

// Optimizer steps of the whole run, of `per_step` samples each; `rows` are samples of an epoch.
int64_t steps_of(const Config& config, int64_t rows, int64_t per_step);

// data.json of the run's folder, for its report: {path, samples, left_out, columns, resolution, samples_per_step,
// steps_per_epoch, buckets: [{width, height, samples}]}. More keys may follow; the report shows them as they are called.
Json data_summary(const RunData& data, int64_t per_step);

// What the text encoders will not see of captions and validation prompts: a line each, to be shown once.
std::vector<std::string> long_text_notices(const Config& config, const Session& session, const RunData& data);

}  // namespace t2i
