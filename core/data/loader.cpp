#include "core/data/loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <tuple>

#include "core/data/codec.h"
#include "core/data/row_picture.h"
#include "core/data/text.h"

namespace t2i {
namespace {

// What was converted in one image.
struct Note {
  uint64_t image;  // row and column in one number, so that each image counts once
  std::string path, phrase;
};

// One sample on its way. Written by the thread that claimed it, read by next() after that thread is done.
struct Slot {
  Draw draw;
  Sample sample;
  std::vector<SkippedSample> skipped;  // on the way to it
  std::vector<Note> notes;
  std::optional<Error> error;  // no sample
};

struct Batch {
  std::vector<Slot> slots;
  size_t claimed = 0, done = 0;
};

struct Noticed {
  std::set<uint64_t> images;
  std::string first;
};

}  // namespace

struct Loader::State {
  const Dataset& dataset;
  const LoaderOptions options;
  const PictureReader pictures;
  std::vector<bool> passed_over;  // by row: its files were missing when the data was opened

  // Known to the owner's thread alone.
  std::vector<SkippedSample> skipped;
  std::set<uint64_t> skipped_rows;
  std::map<std::string, Noticed> noticed;

  // Under the mutex.
  std::mutex mutex;
  std::condition_variable work, finished;
  std::deque<std::unique_ptr<Batch>> batches;  // the oldest first
  bool stopping = false;

  std::vector<std::thread> threads;

  State(const Dataset& d, LoaderOptions o)
      : dataset(d), options(std::move(o)), pictures(d), passed_over(d.rows.size()) {
    for (const BadRow& bad : d.bad) passed_over[bad.index] = true;
  }

  Result<Sample> load_row(const Row& row, const DrawKey& key, std::vector<Note>& notes) const;
  void fill(Slot& slot) const;
  void fill_or_explain(Slot& slot) const;
  Batch* claimable() const;
  void run();
};

TransformOptions transform_for(const LoaderOptions& options, uint64_t row) {
  TransformOptions transform = options.transform;
  if (!options.sizes.empty()) std::tie(transform.width, transform.height) = options.sizes[row];
  return transform;
}

Result<Sample> Loader::State::load_row(const Row& row, const DrawKey& key, std::vector<Note>& notes) const {
  if (options.instead)
    if (auto made = options.instead(row, key)) return std::move(*made);
  Sample sample;
  sample.index = row.index, sample.where = row.where;
  std::string first_name;
  bool turned = false;
  for (size_t c = 0; c < options.columns.size(); ++c) {
    const std::string& name = options.columns[c].name;
    auto value = row.values.find(name);
    if (value == row.values.end()) continue;
    if (!options.columns[c].is_image) {
      sample.texts[name] = options.text_of ? options.text_of(row, name, key) : value->second;
      continue;
    }
    auto image = pictures.image(row, name, options.limits);
    if (!image) return image.error();
    for (const std::string& phrase : image->notes) {
      notes.push_back({row.index * options.columns.size() + c, value->second, phrase});
      turned = turned || phrase == note_turned;
    }
    Geometry& geometry = sample.geometry;
    if (first_name.empty()) {
      first_name = name;
      geometry = derive_geometry(transform_for(options, row.index), image->width, image->height, key);
    } else if (!options.resize_mismatched &&
               (image->width != geometry.original_width || image->height != geometry.original_height)) {
      return Error{row.where,
                   fmt::format("{} is {} × {} but {} is {} × {} pixels", first_name, geometry.original_width,
                               geometry.original_height, name, image->width, image->height),
                   turned ? "One was turned upright as its EXIF orientation says" : "",
                   "make the pair equal, or set data.on_mismatch: resize",
                   "E3006",
                   Exit::bad_data};
    }
    sample.images[name] = apply_geometry(*image, geometry, options.transform.filter);
  }
  return sample;
}

void Loader::State::fill(Slot& slot) const {
  uint64_t n = dataset.rows.size(), tried = 0;
  for (uint64_t i = 0; i < n && tried < max_bad_samples_in_a_row; ++i) {
    const Row& row = dataset.rows[(slot.draw.index + i) % n];
    if (passed_over[row.index]) continue;
    if (!options.sizes.empty() && options.sizes[row.index] != options.sizes[slot.draw.index]) continue;  // its batch is of one size
    ++tried;
    std::vector<Note> notes;
    auto sample = load_row(row, slot.draw.key, notes);
    if (sample) {
      slot.sample = sample.take();
      slot.notes = std::move(notes);
      for (SkippedSample& skipped : slot.skipped) skipped.replaced_by = row.index;
      return;
    }
    if (options.on_error == OnError::stop) {
      slot.error = sample.error();
      return;
    }
    slot.skipped.push_back({row.index, row.index, sample.error()});
  }
  slot.error = Error{dataset.root,
                     counted(tried, "row") + " in a row cannot be used",
                     "The first is " + slot.skipped.front().reason.where + ": " + slot.skipped.front().reason.what,
                     "mend the data",
                     "E3011",
                     Exit::bad_data};
}

// Memory can run out anywhere; in a worker that must become an error too, or next() would wait for ever.
void Loader::State::fill_or_explain(Slot& slot) const {
  try {
    fill(slot);
  } catch (const std::exception& e) {
    slot.error = Error{dataset.rows[slot.draw.index].where,
                       std::string("cannot be loaded: ") + e.what(),
                       "",
                       "use smaller pictures or fewer data.num_workers",
                       "E3010",
                       Exit::failed};
  }
}

// The oldest batch with a sample that nobody works on, within the number that may be ahead.
Batch* Loader::State::claimable() const {
  size_t ahead = std::min(batches.size(), static_cast<size_t>(std::max(1, options.batches_ahead)));
  for (size_t i = 0; i < ahead; ++i)
    if (batches[i]->claimed < batches[i]->slots.size()) return batches[i].get();
  return nullptr;
}

void Loader::State::run() {
  std::unique_lock lock(mutex);
  while (true) {
    Batch* batch = nullptr;
    work.wait(lock, [&] { return stopping || (batch = claimable()); });
    if (stopping) return;
    Slot& slot = batch->slots[batch->claimed++];
    lock.unlock();
    fill_or_explain(slot);
    lock.lock();
    if (++batch->done == batch->slots.size()) finished.notify_all();
  }
}

Loader::Loader(const Dataset& dataset, LoaderOptions options)
    : state_(std::make_unique<State>(dataset, std::move(options))) {
  try {
    for (int i = 0; i < state_->options.num_workers; ++i)
      state_->threads.emplace_back([state = state_.get()] { state->run(); });
  } catch (const std::system_error&) {  // no more threads to be had: fewer, even none, give the same samples
  }
}

Loader::~Loader() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->work.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

void Loader::request(std::vector<Draw> draws) {
  auto batch = std::make_unique<Batch>();
  for (const Draw& draw : draws) {
    if (draw.index >= state_->dataset.rows.size()) throw std::logic_error("Loader::request: no such row");
    batch->slots.emplace_back();
    batch->slots.back().draw = draw;
  }
  {
    std::lock_guard lock(state_->mutex);
    state_->batches.push_back(std::move(batch));
  }
  state_->work.notify_all();
}

std::vector<Sample> Loader::next() {
  State& state = *state_;
  std::unique_ptr<Batch> batch;
  {
    std::unique_lock lock(state.mutex);
    if (state.batches.empty()) throw std::logic_error("Loader::next: nothing was requested");
    if (state.threads.empty())
      for (Slot& slot : state.batches.front()->slots) state.fill_or_explain(slot);
    else state.finished.wait(lock, [&] { return state.batches.front()->done == state.batches.front()->slots.size(); });
    batch = std::move(state.batches.front());
    state.batches.pop_front();
  }
  state.work.notify_all();  // another batch may be begun

  std::vector<Sample> samples;
  std::vector<Error> errors;
  std::set<uint64_t> failed;  // a row twice in a batch is one problem; no good row at all is one for the whole batch
  for (Slot& slot : batch->slots) {
    for (SkippedSample& skipped : slot.skipped)
      if (state.skipped_rows.insert(skipped.index).second) state.skipped.push_back(std::move(skipped));
    for (Note& note : slot.notes) {
      Noticed& noticed = state.noticed[note.phrase];
      if (noticed.images.insert(note.image).second && noticed.first.empty()) noticed.first = note.path;
    }
    uint64_t problem = state.options.on_error == OnError::skip ? 0 : slot.draw.index;
    if (slot.error && failed.insert(problem).second) errors.push_back(std::move(*slot.error));
    samples.push_back(std::move(slot.sample));
  }
  if (!errors.empty()) throw Failure(std::move(errors));
  return samples;
}

size_t Loader::pending() const {
  std::lock_guard lock(state_->mutex);
  return state_->batches.size();
}

const std::vector<SkippedSample>& Loader::skipped() const { return state_->skipped; }

std::vector<std::string> Loader::notices() const {
  std::vector<std::string> lines;
  for (const auto& [phrase, noticed] : state_->noticed)
    lines.push_back(counted(noticed.images.size(), "image") + ": " + phrase + " (first: " + noticed.first + ")");
  return lines;
}

}  // namespace t2i
