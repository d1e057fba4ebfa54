// Settings under the names that other trainers have for them, as ours. A table beside the presets (other-names.json) says
// which is which; a name that is ours already, or whose last word is, needs no row.
#pragma once
#include <string>
#include <vector>

#include "core/config/config.h"

namespace t2i {

struct TakenOver {
  std::vector<Setting> settings;     // in the order of the file
  std::vector<std::string> notices;  // what was left out, and why
};

// `path`: a YAML or JSON file, or a file with a command line, as `accelerate launch train.py --train_batch_size=2`, with
// the lines `export NAME=value` above it. What t2i would not accept is left out with a notice. Failure: E8043 where there
// is nothing to take, and that the file cannot be read.
TakenOver take_over(const std::string& path);

}  // namespace t2i
