// What a sample's caption is: one of several of its picture, its tags perhaps in another order, with what stands before
// and behind. A pure function of who draws; dropping a caption altogether is the task's.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/base/rng.h"

namespace t2i {

struct Caption {
  std::string text;
  double weight = 1;  // how often it is taken, beside the others of its picture
};

struct CaptionRules {
  std::string prefix{}, suffix{};
  bool shuffle = false;
  std::string separator = ",";
  int64_t keep = 0;         // so many of the first tags stay where they are
  int64_t kept_orders = 0;  // 0: any order; else one of so many, which depend on the caption alone, the first as written

  bool changes_nothing() const { return prefix.empty() && suffix.empty() && !shuffle; }
};

// The caption that `key` draws (its streams "caption" and "tags" are set here). `captions` is not empty.
std::string drawn_caption(const std::vector<Caption>& captions, const CaptionRules& rules, const DrawKey& key);

// All that can be drawn, where these are few: without shuffle, or with kept_orders.
std::vector<std::string> all_captions(const std::vector<Caption>& captions, const CaptionRules& rules);

}  // namespace t2i
