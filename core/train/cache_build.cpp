#include "core/train/cache_build.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <chrono>
#include <mutex>
#include <set>

#include "core/base/number_text.h"
#include "core/cache/segment.h"
#include "core/data/row_picture.h"
#include "core/data/text.h"
#include "core/metric/job_progress.h"
#include "core/train/encoded_sample.h"
#include "core/train/encoder_digest.h"
#include "core/train/stop_signal.h"

namespace t2i {
namespace {

constexpr double round_seconds = 20;   // then the processes look at each other: nobody waits longer for the others
constexpr double commit_seconds = 2;   // what a kill costs at most
constexpr uint64_t commit_bytes = uint64_t{64} << 20;

double now_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// A picture with all its crops and flips that are missing: it is decoded once.
struct PictureJob {
  uint64_t row = 0;
  std::string column;
  std::vector<const CacheNeed*> needs;
};

std::vector<PictureJob> picture_jobs(const std::vector<const CacheNeed*>& missing) {
  std::vector<PictureJob> jobs;
  std::map<std::pair<uint64_t, std::string>, size_t> by_picture;
  for (const CacheNeed* need : missing) {
    const auto [at, is_new] = by_picture.emplace(std::pair(need->row, need->column), jobs.size());
    if (is_new) jobs.push_back({need->row, need->column, {}});
    jobs[at->second].needs.push_back(need);
  }
  return jobs;
}

// Of the needs as all processes count them those of one process, as far as they are missing.
std::vector<const CacheNeed*> share_of(const RunCache& cache, const std::string& kind, int rank, int world) {
  std::vector<const CacheNeed*> own;
  // By rows, so that a picture's crops fall to one process.
  for (const CacheNeed* need : cache.missing(kind)) {
    const uint64_t number = kind == "text" ? std::stoull(need->key.substr(0, 15), nullptr, 16) : need->row;
    if (number % static_cast<uint64_t>(world) == static_cast<uint64_t>(rank)) own.push_back(need);
  }
  return own;
}

// What goes on beside encoding: commits, the line on the screen, the rounds.
class Work {
  SegmentWriter writer_;
  const std::string what_;
  const int64_t total_;
  JobProgress progress_;
  CacheBuild& build_;

  static JobProgress::Setup shown_on(const Group& group) {
    JobProgress::Setup shown = JobProgress::on_stderr();
    shown.silent = !group.is_first();
    return shown;
  }

  int64_t done_ = 0;
  double committed_at_ = now_seconds();

 public:
  Work(const RunCache& cache, const std::string& kind, int64_t total, Group& group, CacheBuild& build)
      : writer_(cache.folder, kind),
        what_(fmt::format("caching {}{}", kind == "text" ? "texts" : kind, group.world() > 1 ? fmt::format(" (share 1 of {})", group.world()) : "")),
        total_(total),
        progress_(shown_on(group)),
        build_(build) {}

  void add(CacheEntry entry, const Tensors& tensors) {
    const StoredForm form = stored_form(tensors);
    writer_.add(std::move(entry), form.sources, form.metadata);
    if (writer_.waiting_bytes() > commit_bytes || now_seconds() - committed_at_ > commit_seconds) commit();
  }
  void advance(int64_t count = 1) { progress_.update(what_, static_cast<double>(done_ += count), static_cast<double>(total_)); }
  void commit() {
    const uint64_t entries = writer_.entries(), bytes = writer_.bytes();
    writer_.commit();
    build_.entries += writer_.entries() - entries, build_.bytes += writer_.bytes() - bytes;
    committed_at_ = now_seconds();
  }

  // `step` does a piece of the work and says whether there is more. False when somebody was asked to stop.
  bool until_done(Group& group, const std::function<bool()>& step) {
    for (bool more = true;;) {
      for (const double until = now_seconds() + round_seconds; more && !stop_signal() && now_seconds() < until;) more = step();
      commit();
      const bool stop = group.sum_on_hosts(stop_signal() ? 1 : 0, "stop signals") > 0;
      if (stop) return false;
      if (group.sum_on_hosts(more ? 1 : 0, "what is not cached yet") == 0) return true;
    }
  }
};

Json about_picture(const CacheNeed& need) {
  const Geometry& g = need.geometry;
  return {{"picture", need.hash},
          {"original", {g.original_width, g.original_height}},
          {"resized", {g.resized_width, g.resized_height}},
          {"crop_top_left", {g.crop_top, g.crop_left}},
          {"size", {g.width, g.height}},
          {"flip", g.flip}};
}

// What was converted in pictures, as the loader counts it.
class Notes {
  std::mutex mutex_;
  std::map<std::string, std::pair<size_t, std::string>> by_phrase_;

 public:
  void add(const std::vector<std::string>& phrases, const std::string& path) {
    std::lock_guard lock(mutex_);
    for (const std::string& phrase : phrases)
      if (auto& [count, first] = by_phrase_[phrase]; count++ == 0) first = path;
  }
  std::vector<std::string> lines() {
    std::vector<std::string> out;
    for (const auto& [phrase, seen] : by_phrase_) out.push_back(counted(seen.first, "image") + ": " + phrase + " (first: " + seen.second + ")");
    return out;
  }
};

bool encode_pictures(Session& session, const RunData& data, RunCache& cache, Group& group, int rank, int world, CacheBuild& build,
                     std::vector<Error>& bad) {
  const std::vector<const CacheNeed*> own = share_of(cache, "latents", rank, world);
  const std::vector<PictureJob> jobs = picture_jobs(own);
  const PictureReader reader(data.dataset);
  Notes notes;
  // The loader's threads decode ahead; which job, the key of the draw tells.
  LoaderOptions options = data.loader;
  options.on_error = OnError::stop;
  options.batches_ahead = 2 * options.num_workers + 2;
  options.instead = [&](const Row& row, const DrawKey& key) -> std::optional<Result<Sample>> {
    const PictureJob& job = jobs[key.sample];
    auto image = reader.image(row, job.column, data.loader.limits);
    if (!image) return Result<Sample>(image.error());
    notes.add(image->notes, row.values.at(job.column));
    Sample sample;
    for (const CacheNeed* need : job.needs) sample.images[need->key] = apply_geometry(*image, need->geometry, data.loader.transform.filter);
    return Result<Sample>(std::move(sample));
  };
  Loader loader(data.dataset, std::move(options));
  Work work(cache, "latents", static_cast<int64_t>(own.size()), group, build);
  size_t asked = 0, got = 0;
  auto step = [&] {
    for (; asked < jobs.size() && loader.pending() < static_cast<size_t>(2 * data.loader.num_workers + 2); ++asked)
      loader.request({{jobs[asked].row, {0, 0, asked, 0}}});
    if (got == jobs.size()) return false;
    const PictureJob& job = jobs[got++];
    try {
      const std::vector<Sample> sample = loader.next();
      for (const CacheNeed* need : job.needs) {
        CacheEntry entry;
        entry.key = need->key, entry.kind = "latents", entry.source = data.dataset.rows[job.row].values.at(job.column);
        entry.encoder = cache.encoders.at("latents"), entry.about = about_picture(*need);
        work.add(std::move(entry), encode_picture(*session.model, sample[0].images.at(need->key), session.device));
      }
    } catch (const Failure& f) {
      if (f.errors.empty() || !f.errors.front().id.starts_with("E3")) throw;  // the disk's or the model's, not the picture's
      bad.insert(bad.end(), f.errors.begin(), f.errors.end());
    }
    work.advance(static_cast<int64_t>(job.needs.size()));
    return got < jobs.size();
  };
  const bool whole = work.until_done(group, step);
  for (std::string& line : notes.lines()) build.notices.push_back(std::move(line));
  return whole;
}

// Where a row comes from, as its pictures are named: below the data's folder.
std::string source_of(const Row& row, const Dataset& dataset) {
  return row.where.starts_with(dataset.root + "/") ? row.where.substr(dataset.root.size() + 1) : row.where;
}

bool encode_texts(Session& session, const RunData& data, RunCache& cache, Group& group, int rank, int world, CacheBuild& build) {
  const std::vector<const CacheNeed*> own = share_of(cache, "text", rank, world);
  Work work(cache, "text", static_cast<int64_t>(own.size()), group, build);
  size_t next = 0;
  return work.until_done(group, [&] {
    if (next == own.size()) return false;
    const CacheNeed& need = *own[next++];
    CacheEntry entry;
    entry.key = need.key, entry.kind = "text", entry.text = need.text, entry.encoder = cache.encoders.at("text");
    if (!need.text.empty()) entry.source = source_of(data.dataset.rows[need.row], data.dataset);
    work.add(std::move(entry), encode_text(*session.model, need.text, session.device));
    work.advance();
    return next < own.size();
  });
}

// What is wrong with rows of which a picture could not even be looked at: reading them as a run would says it.
std::vector<Error> unusable_rows(const RunData& data, const RunCache& cache, const std::set<uint64_t>& known) {
  std::vector<Error> errors;
  LoaderOptions options = data.loader;
  options.on_error = OnError::stop, options.num_workers = 0;
  Loader loader(data.dataset, std::move(options));
  for (const Row& row : data.dataset.rows) {
    if (cache.pictures[row.index].usable || known.contains(row.index)) continue;
    try {
      loader.request({{row.index, {}}});
      loader.next();
    } catch (const Failure& f) {
      errors.insert(errors.end(), f.errors.begin(), f.errors.end());
    }
  }
  return errors;
}

}  // namespace

CacheBuild build_cache(Session& session, const Config& config, const RunData& data, RunCache& cache, Group& group,
                       const std::function<bool(const std::string&)>& keeps) {
  CacheBuild build;
  std::vector<Error> bad;
  for (const char* kind : {"text", "latents"}) {
    if (!cache.holds(kind)) continue;
    const std::string role = role_of_kind(kind);
    // Where the disk is not common to all, what the others have made is not to be seen: then every process makes it all.
    for (int pass = 0; pass < (group.world() > 1 ? 2 : 1); ++pass) {
      const auto missing = static_cast<double>(cache.missing(kind).size());
      if (group.sum_on_hosts(missing, "what is not cached yet") == 0 || (pass > 0 && group.sum_on_hosts(static_cast<double>(bad.size()), "bad samples") > 0)) break;
      load_frozen_role(session, config, role);
      if (pass == 0 && std::string(kind) == "latents") {
        const auto [vae_px, channels] = std::pair(session.model->downscale(), session.model->latent_channels());
        uint64_t bytes = 0;
        for (const CacheNeed* need : cache.missing(kind)) bytes += static_cast<uint64_t>(2 * 4 * channels * (need->geometry.width / vae_px) * (need->geometry.height / vae_px));
        require_free(real_file_system(), cache.folder, bytes / static_cast<uint64_t>(group.world()), "the cache of latents");
      }
      const int rank = pass == 0 ? group.rank() : 0, world = pass == 0 ? group.world() : 1;
      const bool whole = std::string(kind) == "text" ? encode_texts(session, data, cache, group, rank, world, build)
                                                     : encode_pictures(session, data, cache, group, rank, world, build, bad);
      cache.store = std::make_shared<CacheStore>(CacheStore::open(cache.folder));
      if (!whole) return build.stopped = true, build;
    }
    if (!keeps(role)) session.model->release(role);
  }
  if (cache.holds("latents") && config.data.on_error == "stop") {
    std::set<uint64_t> listed;
    for (const BadRow& row : data.dataset.bad) listed.insert(row.index);
    if (group.is_first())
      for (Error& e : unusable_rows(data, cache, listed)) bad.push_back(std::move(e));
    const bool any = group.sum_on_hosts(static_cast<double>(bad.size()), "bad samples") > 0;
    if (!bad.empty()) throw Failure(std::move(bad));
    if (any) fail({"data", "another process found pictures that cannot be used", "It says which", "mend the data, or set data.on_error: skip", "E8074", Exit::bad_data});
  }
  return build;
}

}  // namespace t2i
