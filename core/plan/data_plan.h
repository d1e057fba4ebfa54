// What a run will make of its data, told before it starts: how many samples, of which sizes, what is left out, cut or
// enlarged, and why. Pictures' headers are read, no picture is decoded.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/session.h"
#include "core/train/run_data.h"

namespace t2i {

struct LeftOut {
  std::string where;  // "metadata.jsonl:7"
  Error why;
};

struct DataPlan {
  int64_t rows = 0, pictures = 0;
  std::vector<LeftOut> left_out;  // rows that a run would stop at, or leave out under data.on_error: skip; by rising row
  std::map<std::pair<uint32_t, uint32_t>, int64_t> sizes;  // (width, height) → pictures
  int64_t enlarged = 0;       // pictures with a side below the resolution
  uint64_t largest_pixels = 0;
  bool all_square = true;     // nothing is cropped
  int64_t texts = 0;          // that differ
  std::vector<std::string> notices;  // of the dataset, and texts that are cut: a line each
};

DataPlan look_at_data(const Config& config, const Session& session, const RunData& data);

}  // namespace t2i
