// The cache of a run: which entries it needs, which of them are there, and its samples made of them. Building what is
// missing is core/train/cache_build.h; the files are core/cache/.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/cache/known_files.h"
#include "core/cache/store.h"
#include "core/dist/group.h"
#include "core/train/batch.h"
#include "core/train/cache_keys.h"
#include "core/train/run_data.h"

namespace t2i {

// data.cache_dir, else beside the data: my_data.t2i-cache. Failure E8070 where that is no cache.
Path cache_folder(const Config& config);

// One entry that the run may want.
struct CacheNeed {
  std::string key;
  uint64_t row = 0;      // where it is met first
  std::string column{};  // of a picture
  std::string hash{};    // of the picture's file
  Geometry geometry{};
  std::string text{};    // of a text
};

struct RunCache {
  Path folder;
  std::map<std::string, std::string> encoders;             // by kind that is cached: "latents", "text"
  std::map<std::string, std::vector<CacheNeed>> needs;     // by kind, each key once, in the order of the rows
  std::vector<RowIds> pictures;                       // by row
  std::shared_ptr<const CacheStore> store;

  bool holds(const std::string& kind) const { return encoders.contains(kind); }
  // Does it stand in for the parts of this role ("vae", "text_encoder")?
  bool stands_in_for(const std::string& role) const;
  std::vector<const CacheNeed*> missing(const std::string& kind) const;
};

// Looks at the data and at the cache. With several processes each reads its share of the pictures, so all must come here.
// Null where data.cache is off; also where the run was asked to stop meanwhile. `rehash`: no file is taken for known.
// Failure E8072 where an encoder is trained whose texts are to be cached, E8070.
std::unique_ptr<RunCache> open_run_cache(const Session& session, const Config& config, const RunData& data, Group& group, bool rehash = false);

// "398 of 400 latents are there (52.4 MB); to be encoded: 1 of a changed picture, 1 new": a line for each kind.
std::vector<std::string> cache_summary(const RunCache& cache, const Dataset& dataset);

// E8073 for each kind of which entries are missing, with the first.
std::vector<Error> missing_entries(const RunCache& cache, const Dataset& dataset);

// The sample of a row, of which nothing is decoded; nothing where a picture of it is not cached, so that the loader reads
// it and says what is wrong. Any thread.
std::optional<Result<Sample>> cached_sample(const RunCache& cache, const Config& config, const RunData& data, const Row& row, const DrawKey& key);

// What a text was encoded to. Failure E8073 where it is not there, E8071 where it is damaged.
Tensors cached_text(const RunCache& cache, const std::string& text);

}  // namespace t2i
