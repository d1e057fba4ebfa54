#include "core/train/cached_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "core/base/number_text.h"
#include "core/data/row_picture.h"
#include "core/train/encoder_digest.h"
#include "core/train/stop_signal.h"

namespace t2i {
namespace {

void tell(const Group& group, const std::string& line) {
  if (group.is_first()) std::fprintf(stderr, "%s\n", printable(line).c_str());
}

// Pictures of which one crop is kept although random ones were asked for.
std::string crops_notice(const RunCache& cache, const Config& config, const RunData& data) {
  if (!cache.holds("latents") || config.data.center_crop || config.data.cache_crops > 1) return "";
  uint64_t cut = 0;
  for (const Row& row : data.dataset.rows) {
    const RowIds& pictures = cache.pictures[row.index];
    cut += pictures.usable && !pictures.columns.empty() && crops_of(transform_for(data.loader, row.index), 2, pictures.columns.front()) > 1;
  }
  if (!cut) return "";
  return fmt::format("notice: {} of {} samples are cropped, and of each the middle is cached; data.cache_crops: 4 keeps more to draw from", grouped(cut),
                     grouped(data.dataset.rows.size()));
}

// Under data.on_error: skip what cannot be read is missing for good, and nothing to wait for.
void forget_unreadable(RunCache& cache, const Config& config, const RunData& data) {
  if (!cache.holds("latents") || config.data.on_error != "skip") return;
  const PictureReader reader(data.dataset);
  std::map<std::pair<uint64_t, std::string>, bool> readable;
  std::erase_if(cache.needs.at("latents"), [&](const CacheNeed& need) {
    if (cache.store->find(need.key)) return false;
    const auto [at, is_new] = readable.emplace(std::pair(need.row, need.column), true);
    if (is_new) at->second = static_cast<bool>(reader.image(data.dataset.rows[need.row], need.column, data.loader.limits));
    return !at->second;
  });
}

}  // namespace

std::unique_ptr<RunCache> prepare_cache(Session& session, const Config& config, const RunData& data, Group& group, bool draws,
                                        std::vector<std::string>& notes) {
  std::unique_ptr<RunCache> cache = open_run_cache(session, config, data, group);
  const char* stopped = "stopped before the first step; the same command goes on with the cache from here";
  if (!cache) {
    if (config.data.cache != "off") tell(group, stopped);
    return nullptr;
  }
  std::vector<std::pair<std::string, std::string>> fingerprints;
  for (const auto& [kind, encoder] : cache->encoders) fingerprints.emplace_back("encoder of " + kind, encoder);
  require_equal(group, fingerprints);
  notes = cache_summary(*cache, data.dataset);
  for (const std::string& notice : cache->store->notices()) notes.push_back("notice: " + notice);
  std::vector<Error> missing = missing_entries(*cache, data.dataset);
  if (config.data.cache == "only") {
    forget_unreadable(*cache, config, data);
    missing = missing_entries(*cache, data.dataset);
    if (!missing.empty()) throw Failure(std::move(missing));
  } else {
    const bool begun_with_gaps = !missing.empty();
    if (begun_with_gaps)
      for (const std::string& line : notes) tell(group, line);
    const CacheBuild build = build_cache(session, config, data, *cache, group, [draws](const std::string&) { return draws; });
    if (build.stopped) return tell(group, stopped), nullptr;
    if (begun_with_gaps) {
      notes.clear();
      for (const std::string& notice : build.notices) notes.push_back("notice: " + notice);
    }
    forget_unreadable(*cache, config, data);
    if (missing = missing_entries(*cache, data.dataset); !missing.empty()) throw Failure(std::move(missing));
  }
  if (std::string n = crops_notice(*cache, config, data); !n.empty()) notes.push_back(n);
  if (draws) notes.push_back("notice: the encoders stay in memory for the validation pictures; validation.every_steps: 0 trains without them");
  return cache;
}

void read_from_cache(const RunCache& cache, const Config& config, RunData& data, Encoder& encoder) {
  if (cache.holds("latents"))
    data.loader.instead = [&](const Row& row, const DrawKey& key) { return cached_sample(cache, config, data, row, key); };
  if (cache.holds("text")) encoder.made_before = [&](const std::string& text) { return cached_text(cache, text); };
}

}  // namespace t2i
