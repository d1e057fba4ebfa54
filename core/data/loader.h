// Rows → samples ready for the model, by worker threads that run ahead. What comes out, and in which order, does not
// depend on the number of threads: every draw comes from the request, and results are delivered in request order.
//
//   Loader loader(dataset, options);
//   loader.request(draws_of(step));  loader.request(draws_of(step + 1));   // ask ahead: this is what workers live on
//   std::vector<Sample> batch = loader.next();                            // the oldest request, whole
//
// request(), next() and the rest belong to one thread, the owner's. Destroying a Loader early is fine.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "core/data/dataset.h"
#include "core/data/limits.h"
#include "core/data/transform.h"

namespace t2i {

enum class OnError { stop, skip };

struct Sample;
struct EncodedSample;  // whoever sets LoaderOptions::instead knows what it is

struct LoaderOptions {
  std::vector<ColumnSpec> columns;  // as given to open_dataset
  TransformOptions transform;
  std::vector<std::pair<int, int>> sizes{};  // width and height by row, in place of transform's; empty: all rows alike
  // A text column's value in a sample; empty: as it is in the row. Any worker.
  std::function<std::string(const Row&, const std::string& column, const DrawKey&)> text_of{};
  OnError on_error = OnError::stop;  // skip: the next good row takes the place of a bad one
  bool resize_mismatched = false;    // a pair of unequal sizes: true resizes to the first image's size, false is E3006
  int num_workers = 2;               // 0: next() does the work itself
  int batches_ahead = 2;             // decoded and not yet delivered, the one being waited for included; at least 1
  DecodeLimits limits;
  // Makes the sample of a row in another way than by reading its pictures; nothing: they are read after all. Called by
  // any worker.
  std::function<std::optional<Result<Sample>>(const Row&, const DrawKey&)> instead{};
};

// The transform of one row.
TransformOptions transform_for(const LoaderOptions& options, uint64_t row);

// One wanted sample: which row, and who draws its crop and flip (the key's stream is set by the loader).
struct Draw {
  uint64_t index = 0;
  DrawKey key;
};

struct Sample {
  uint64_t index = 0;  // the row delivered: another than asked for if that one was skipped
  std::string where;
  std::map<std::string, FloatImage> images;  // by column name; all of one size
  std::map<std::string, std::string> texts;
  Geometry geometry;
  std::shared_ptr<const EncodedSample> encoded{};  // by LoaderOptions::instead
};

struct SkippedSample {
  uint64_t index = 0, replaced_by = 0;
  Error reason;
};

class Loader {
 public:
  Loader(const Dataset& dataset, LoaderOptions options);  // keeps a reference to `dataset`
  ~Loader();                                              // stops the workers; waits for at most one sample each
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // Queues one batch. Returns at once.
  void request(std::vector<Draw> draws);

  // The oldest request's samples, in its order; waits for them. Calling it with nothing requested is the caller's
  // mistake (std::logic_error). Throws Failure: under `stop` with every bad sample of the batch; under `skip` only when
  // no good row is found among a hundred tried (E3011). After a Failure the Loader can be asked on.
  std::vector<Sample> next();

  size_t pending() const;  // requests not yet delivered

  // Every bad row met so far and its reason, once each, in delivery order; those that the dataset lists are not tried.
  const std::vector<SkippedSample>& skipped() const;

  // What was converted in the images delivered so far, summed up: "12 images: alpha channel dropped (first: a.png)".
  std::vector<std::string> notices() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace t2i
