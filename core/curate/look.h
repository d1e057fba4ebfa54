// The rows of a data set looked at one by one, in threads: their pictures and captions, and which rows are the same.
#pragma once
#include <vector>

#include "core/curate/validation_report.h"
#include "core/data/dataset.h"
#include "core/data/limits.h"

namespace t2i {

struct LookOptions {
  bool decode = false;             // every picture whole; else its header
  bool resize_mismatched = false;  // sizes within a row may differ
  DecodeLimits limits;
  std::vector<std::string> captions;  // columns that must not be empty
};

// Adds to the report what is wrong with the rows that are not bad already (by index), and marks those that cannot be used.
void look_at_rows(const Dataset& dataset, const LookOptions& options, ValidationReport& report, std::vector<bool>& bad);

}  // namespace t2i
