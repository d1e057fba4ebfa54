#include "core/train/run_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "core/base/number_text.h"
#include "core/cache/segment.h"
#include "core/config/rates.h"
#include "core/data/text.h"
#include "core/metric/job_progress.h"
#include "core/train/caption_data.h"
#include "core/train/encoded_sample.h"
#include "core/train/encoder_digest.h"
#include "core/train/stop_signal.h"

namespace t2i {
namespace {

void refuse_trained_encoders(const Config& config) {
  const auto& kinds = config.data.cache_kinds;
  const std::vector<std::string>& trained = trained_text_encoders(config);
  if (trained.empty() || std::ranges::count(kinds, "text") == 0) return;
  fail({"data.cache", fmt::format("cannot hold texts: {}.text_encoders trains {}", config.lora.rank ? "lora" : "train", trained.front()),
        "What it makes of a text changes with every step", "set data.cache_kinds: [latents]", "E8072", Exit::config});
}

std::vector<CacheNeed> picture_needs(const RunCache& cache, const Config& config, const RunData& data) {
  std::vector<CacheNeed> needs;
  std::set<std::string> seen;
  for (const Row& row : data.dataset.rows) {
    const RowIds& pictures = cache.pictures[row.index];
    if (!pictures.usable || pictures.columns.empty()) continue;
    const TransformOptions transform = transform_for(data.loader, row.index);
    for (const Geometry& geometry : cached_geometries(transform, pictures.columns.front(), config.data.cache_crops)) {
      size_t at = 0;
      for (const ColumnSpec& column : data.loader.columns) {
        if (!column.is_image || !row.values.contains(column.name)) continue;
        const std::string& hash = pictures.columns[at++].hash;
        std::string key = latents_key(hash, geometry, transform.filter, cache.encoders.at("latents"));
        if (seen.insert(key).second) needs.push_back({std::move(key), row.index, column.name, hash, geometry, {}});
      }
    }
  }
  return needs;
}

std::vector<CacheNeed> text_needs(const RunCache& cache, const Session& session, const RunData& data) {
  std::vector<CacheNeed> needs;
  std::set<std::string> seen;
  auto want = [&](const std::string& text, uint64_t row) {
    std::string key = text_key(text, cache.encoders.at("text"));
    if (seen.insert(key).second) needs.push_back({std::move(key), row, {}, {}, {}, text});
  };
  want("", 0);  // what a caption that is dropped becomes
  for (const Row& row : data.dataset.rows)
    for (const TaskColumn& column : session.task->columns())
      if (column.use == "prompt")
        for (const std::string& text : all_captions(captions_of(data, row, column.name), data.caption_rules)) want(text, row.index);
  return needs;
}

// Of each process's share the others find what it has written down.
std::vector<RowIds> all_pictures(const Config& config, const RunData& data, KnownFiles& known, Group& group, const Path& folder) {
  std::vector<std::optional<RowIds>> found;
  for (int pass = 0; pass < 2; ++pass) {
    PictureScan scan;
    const bool alone = group.world() == 1 || pass == 1;
    if (!alone) scan.share = group.rank(), scan.shares = group.world();
    scan.threads = static_cast<int>(std::max<int64_t>(1, config.data.num_workers));
    JobProgress::Setup shown = JobProgress::on_stderr();
    shown.silent = !group.is_first();
    JobProgress progress(shown);
    scan.progress = [&](int64_t done, int64_t rows) { progress.update("looking at pictures", static_cast<double>(done), static_cast<double>(rows)); };
    scan.stop = [] { return stop_signal() != 0; };
    // A second pass finds the others' shares among what is known; without a common disk it reads them itself.
    KnownFiles theirs(folder);
    found = scan_pictures(data.dataset, data.loader, pass == 0 ? known : theirs, scan);
    (pass == 0 ? known : theirs).save();
    if (group.world() == 1) break;
    group.barrier("pictures of the cache");
  }
  std::vector<RowIds> pictures;
  for (auto& one : found) pictures.push_back(one ? std::move(*one) : RowIds{});
  return pictures;
}

// Why is it not there? By what is there of the same picture or text.
class Reasons {
  std::unordered_multimap<std::string, const CacheEntry*> by_subject_;

 public:
  explicit Reasons(const CacheStore& store) {
    for (const PlacedEntry& e : store.entries()) by_subject_.emplace(e.entry.kind + " " + (e.entry.kind == "text" ? e.entry.text : e.entry.source), &e.entry);
  }
  std::string of(const CacheNeed& need, const std::string& kind, const std::string& encoder, const std::string& source) const {
    const auto [begin, end] = by_subject_.equal_range(kind + " " + (kind == "text" ? need.text : source));
    if (begin == end) return kind == "text" ? "new or changed" : "new";
    bool same_encoder = false, same_picture = false;
    for (auto at = begin; at != end; ++at) {
      same_encoder = same_encoder || at->second->encoder == encoder;
      same_picture = same_picture || (at->second->about.is_object() && at->second->about.value("picture", "") == need.hash);
    }
    if (kind == "latents" && !same_picture) return "of a changed picture";
    return same_encoder ? "of another size, crop or flip" : "by another encoder";
  }
};

std::string source_of(const CacheNeed& need, const Dataset& dataset) {
  const Row& row = dataset.rows[need.row];
  return need.column.empty() ? row.where : row.values.at(need.column);
}

std::string reasons_text(const RunCache& cache, const std::string& kind, const Dataset& dataset, const Reasons& reasons) {
  std::map<std::string, size_t> counts;
  for (const CacheNeed* need : cache.missing(kind)) ++counts[reasons.of(*need, kind, cache.encoders.at(kind), source_of(*need, dataset))];
  std::string text;
  for (const auto& [reason, count] : counts) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", grouped(count), reason);
  return text;
}

std::string noun(const std::string& kind, size_t n) { return kind == "text" ? (n == 1 ? "text" : "texts") : "latents"; }

}  // namespace

Path cache_folder(const Config& config) {
  std::string folder = config.data.cache_dir;
  if (folder.empty()) {
    folder = config.data.path;
    while (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
    folder += ".t2i-cache";
  }
  require_cache_folder(folder);
  return folder;
}

bool RunCache::stands_in_for(const std::string& role) const {
  return std::ranges::any_of(encoders, [&](const auto& kind) { return role_of_kind(kind.first) == role; });
}

std::vector<const CacheNeed*> RunCache::missing(const std::string& kind) const {
  std::vector<const CacheNeed*> list;
  if (auto all = needs.find(kind); all != needs.end())
    for (const CacheNeed& need : all->second)
      if (!store->find(need.key)) list.push_back(&need);
  return list;
}

std::unique_ptr<RunCache> open_run_cache(const Session& session, const Config& config, const RunData& data, Group& group, bool rehash) {
  if (config.data.cache == "off") return nullptr;
  refuse_trained_encoders(config);
  auto cache = std::make_unique<RunCache>();
  cache->folder = cache_folder(config);
  make_cache_folder(cache->folder);
  KnownFiles known(cache->folder);
  if (rehash) known.forget_all();
  for (const std::string& kind : config.data.cache_kinds)
    if (kind == "latents" || !session.model->parts("text_encoder").empty()) cache->encoders[kind] = encoder_fingerprint(session, config, kind, known);
  if (cache->holds("latents")) cache->pictures = all_pictures(config, data, known, group, cache->folder);
  else known.save();
  if (group.sum_on_hosts(stop_signal() ? 1 : 0, "stop signals") > 0) return nullptr;
  if (cache->holds("latents")) cache->needs["latents"] = picture_needs(*cache, config, data);
  if (cache->holds("text")) cache->needs["text"] = text_needs(*cache, session, data);
  cache->store = std::make_shared<CacheStore>(CacheStore::open(cache->folder));
  return cache;
}

std::vector<std::string> cache_summary(const RunCache& cache, const Dataset& dataset) {
  const Reasons reasons(*cache.store);
  std::vector<std::string> lines;
  for (const auto& [kind, needs] : cache.needs) {
    uint64_t bytes = 0, there = 0;
    for (const CacheNeed& need : needs)
      if (const PlacedEntry* entry = cache.store->find(need.key)) ++there, bytes += entry->entry.bytes;
    std::string line = fmt::format("{}: {} of {} {} {} there ({})", cache.folder.string(), grouped(there), grouped(needs.size()),
                                   noun(kind, needs.size()), there == 1 && kind == "text" ? "is" : "are", bytes_text(bytes));
    if (there < needs.size()) line += "; to be encoded: " + reasons_text(cache, kind, dataset, reasons);
    lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<Error> missing_entries(const RunCache& cache, const Dataset& dataset) {
  const Reasons reasons(*cache.store);
  std::vector<Error> errors;
  for (const auto& [kind, needs] : cache.needs) {
    const std::vector<const CacheNeed*> missing = cache.missing(kind);
    if (missing.empty()) continue;
    const std::string first = kind == "text" && missing[0]->text.empty() ? "the empty text" : kind == "text" ? "'" + missing[0]->text + "'" : source_of(*missing[0], dataset);
    errors.push_back({cache.folder.string(),
                      fmt::format("{} of {} {} {} not in the cache (first: {})", grouped(missing.size()), grouped(needs.size()), noun(kind, needs.size()),
                                  missing.size() == 1 && kind == "text" ? "is" : "are", first),
                      "To be encoded: " + reasons_text(cache, kind, dataset, reasons), "t2i cache build, or set data.cache: auto", "E8073", Exit::missing});
  }
  return errors;
}

static Result<Tensors> stored(const RunCache& cache, const PlacedEntry& entry) {
  auto bytes = cache.store->read(entry);
  if (!bytes) return bytes.error();
  return from_stored(*bytes, cache.store->segments()[entry.segment].data_path);
}

std::optional<Result<Sample>> cached_sample(const RunCache& cache, const Config& config, const RunData& data, const Row& row, const DrawKey& key) {
  if (!cache.holds("latents")) return std::nullopt;
  const RowIds& pictures = cache.pictures[row.index];
  if (!pictures.usable || pictures.columns.empty()) return std::nullopt;
  Sample sample;
  sample.index = row.index, sample.where = row.where;
  const TransformOptions transform = transform_for(data.loader, row.index);
  sample.geometry = chosen_geometry(transform, pictures.columns.front(), config.data.cache_crops, key);
  auto encoded = std::make_shared<EncodedSample>();
  size_t picture = 0;
  for (const ColumnSpec& column : data.loader.columns) {
    auto value = row.values.find(column.name);
    if (value == row.values.end()) continue;
    std::string entry_key;
    if (column.is_image) {
      entry_key = latents_key(pictures.columns[picture++].hash, sample.geometry, transform.filter, cache.encoders.at("latents"));
    } else {
      const std::string text = data.loader.text_of ? data.loader.text_of(row, column.name, key) : value->second;
      sample.texts[column.name] = text;
      if (cache.holds("text")) entry_key = text_key(text, cache.encoders.at("text"));
    }
    if (entry_key.empty()) continue;
    const PlacedEntry* entry = cache.store->find(entry_key);
    if (!entry && column.is_image) return std::nullopt;
    if (!entry) continue;  // cached_text() says so
    auto tensors = stored(cache, *entry);
    if (!tensors) return Result<Sample>(tensors.error());
    encoded->columns[column.name] = tensors.take();
  }
  sample.encoded = std::move(encoded);
  return Result<Sample>(std::move(sample));
}

Tensors cached_text(const RunCache& cache, const std::string& text) {
  const PlacedEntry* entry = cache.store->find(text_key(text, cache.encoders.at("text")));
  if (!entry)
    fail({cache.folder.string(), "the text '" + text + "' is not in the cache", "", "t2i cache build, or set data.cache: auto", "E8073", Exit::missing});
  return stored(cache, *entry).take();
}

}  // namespace t2i
