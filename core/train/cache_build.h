// Encodes what a run's cache lacks. Every process encodes its share: none waits for another that does all of it. What was
// committed stays, so that after a kill or Ctrl-C the same command goes on with the rest.
#pragma once
#include "core/train/run_cache.h"

namespace t2i {

struct CacheBuild {
  uint64_t entries = 0, bytes = 0;   // that this process has written
  bool stopped = false;              // asked to, by a signal to any process
  std::vector<std::string> notices;  // what was converted in the pictures, which samples are left out
};

// All processes come here together. Loads the encoders that are needed, and gives their memory back unless `keeps` says
// that the role is needed after it. The cache's store is then that of the whole.
// Failure with every bad sample under data.on_error: stop.
CacheBuild build_cache(Session& session, const Config& config, const RunData& data, RunCache& cache, Group& group,
                       const std::function<bool(const std::string& role)>& keeps);

}  // namespace t2i
