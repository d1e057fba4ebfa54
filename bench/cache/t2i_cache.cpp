// How fast latents come out of a cache, and how long a training step waits for them: the loader that a run has, on a
// cache of entries in the published size of Stable Diffusion 1.5 at 512 px (mean and logvar, 4 × 64 × 64, float32).
//
//   t2i_cache FOLDER [ENTRIES=4000] [PER_SECOND=400] [SECONDS=10] [WORKERS=2]
//
// "Steps" of 16 samples are the clock's: the main thread sleeps as a step would compute, then asks for the next batch; the
// share of time that it waits is what a run logs as data_seconds. Afterwards as fast as it goes.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "core/cache/segment.h"
#include "core/data/pictures.h"
#include "core/train/cached_run.h"
#include "core/train/encoded_sample.h"

namespace t2i {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

void bench(const Path& folder, int64_t entries, double per_second, double seconds, int workers) {
  constexpr int64_t batch = 16;
  Config config;
  config.data.center_crop = true;
  RunData data;
  data.dataset.pictures = pictures_in_folder(".", false);  // never asked
  data.loader.columns = {{"image", true, "", true}};
  data.loader.transform = {512, 512, true, false, Filter::lanczos};
  data.loader.num_workers = workers;
  RunCache cache;
  cache.folder = folder, cache.encoders["latents"] = "bench";
  make_cache_folder(folder);
  {
    SegmentWriter writer(folder, "latents");
    at::manual_seed(1);
    for (int64_t i = 0; i < entries; ++i) {
      Row row;
      row.index = static_cast<uint64_t>(i), row.where = fmt::format("{}.png", i), row.values["image"] = row.where;
      const PictureId id{fmt::format("{:032x}", i), 512, 512};
      CacheEntry entry;
      entry.kind = "latents", entry.source = row.where, entry.encoder = "bench";
      entry.key = latents_key(id.hash, cached_geometry(data.loader.transform, id, 0, false), data.loader.transform.filter, "bench");
      const StoredForm form = stored_form({{"mean", at::randn({1, 4, 64, 64})}, {"logvar", at::randn({1, 4, 64, 64})}});
      writer.add(std::move(entry), form.sources, form.metadata);
      cache.pictures.push_back({{id}, true});
      data.dataset.rows.push_back(std::move(row));
    }
    writer.commit();
  }
  cache.store = std::make_shared<CacheStore>(CacheStore::open(folder));
  data.loader.instead = [&](const Row& row, const DrawKey& key) { return cached_sample(cache, config, data, row, key); };

  Loader loader(data.dataset, data.loader);
  uint64_t asked = 0;
  auto ask = [&] {
    std::vector<Draw> draws;
    for (int64_t i = 0; i < batch; ++i, ++asked)
      draws.push_back({permuted(asked % static_cast<uint64_t>(entries), static_cast<uint64_t>(entries), 1, asked / static_cast<uint64_t>(entries)), {1, 0, asked, 0}});
    loader.request(std::move(draws));
  };
  double sum = 0;
  auto next = [&] {
    while (loader.pending() < 3) ask();
    for (const Sample& sample : loader.next()) sum += sample.encoded->columns.at("image").at("mean").const_data_ptr<float>()[0];
  };
  next();
  double waited = 0;
  const double step = static_cast<double>(batch) / per_second, began = now();
  int64_t steps = 0;
  for (double due = began; now() - began < seconds; ++steps) {
    const double before = now();
    next();
    waited += now() - before;
    due += step;
    if (const double rest = due - now(); rest > 0) std::this_thread::sleep_for(std::chrono::duration<double>(rest));
  }
  const double spent = now() - began;
  fmt::print("{:.0f} images/s asked, {:.0f} given: a step of {:.1f} ms waits {:.3f} ms, {:.2f} % of its time\n", per_second,
             static_cast<double>(steps * batch) / spent, 1000 * spent / static_cast<double>(steps), 1000 * waited / static_cast<double>(steps), 100 * waited / spent);
  const double fast = now();
  int64_t images = 0;
  for (; now() - fast < seconds / 2; images += batch) next();
  fmt::print("as fast as it goes: {:.0f} images/s with {} threads, each entry's hash checked ({})\n", static_cast<double>(images) / (now() - fast), workers, sum == 0 ? "?" : "read");
}

}  // namespace
}  // namespace t2i

int main(int count, char** arguments) {
  auto number = [&](int at, double standard) { return count > at ? std::atof(arguments[at]) : standard; };
  if (count < 2) return std::fprintf(stderr, "t2i_cache FOLDER [ENTRIES] [PER_SECOND] [SECONDS] [WORKERS]\n"), 64;
  try {
    t2i::bench(arguments[1], static_cast<int64_t>(number(2, 4000)), number(3, 400), number(4, 10), static_cast<int>(number(5, 2)));
  } catch (const t2i::Failure& f) {
    return std::fprintf(stderr, "%s\n", f.what()), static_cast<int>(f.exit());
  }
  return 0;
}
