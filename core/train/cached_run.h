// A run's cache in three lines: opened, brought up to date, read from.
#pragma once
#include "core/train/cache_build.h"
#include "core/train/run_cache.h"

namespace t2i {

// Null where data.cache is off, or where the run was asked to stop meanwhile, which it says. Adds to `notes` what there is.
// `draws`: the encoders are needed later too. Failure E8073 where entries are missing and data.cache is only.
std::unique_ptr<RunCache> prepare_cache(Session& session, const Config& config, const RunData& data, Group& group, bool draws,
                                        std::vector<std::string>& notes);

// From now on the loader makes samples, and the encoder texts, of what is cached. All must outlive the loader.
void read_from_cache(const RunCache& cache, const Config& config, RunData& data, Encoder& encoder);

}  // namespace t2i
