// What to draw: prompts from the command line or a file, each with what belongs to it, and the pictures they ask for.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"

namespace t2i {

struct Prompt {
  std::string text;
  std::string image;                    // a file; empty: none of its own
  std::optional<std::string> negative;  // none: the common one
  std::optional<int64_t> seed;          // none: the common one
  std::string where;                    // "prompts.jsonl:7", for messages
};

// A .jsonl has one object a line: {"prompt": …, "image": …, "seed": …, "negative": …}, only the first needed; an image
// is found beside the file. Any other file has one prompt a line. Blank lines are skipped.
// Throws Failure with every bad line: E6005 (65), E4103 when there is no such file.
std::vector<Prompt> read_prompts(const std::string& path);

struct PictureRequest {
  size_t prompt = 0;  // which one
  std::string text, negative, image;
  uint64_t seed = 0;
};

struct PictureSettings {
  std::string negative;
  std::vector<std::string> images;  // none, one for all, or one per prompt
  uint64_t seed = 0;
  int64_t count = 1;
  bool numbered_seeds = false;  // every picture of the job has a seed of its own, not only those of one prompt
};

// `count` pictures per prompt, in order; the i-th has seed + i, so that two prompts are compared on the same noise.
// Throws Failure E6006 where images and prompts do not pair up.
std::vector<PictureRequest> requested_pictures(const std::vector<Prompt>& prompts, const PictureSettings& settings);

}  // namespace t2i
