// What `t2i validate` found, and how it tells of it.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "core/curate/columns.h"
#include "core/data/problems.h"

namespace t2i {

struct ValidationReport {
  std::string path, layout, task;
  std::vector<ColumnSpec> columns;
  uint64_t rows = 0, usable = 0;   // each counted once, however often it repeats
  uint64_t samples = 0;            // of an epoch: repeats count
  uint64_t pictures = 0;           // that were looked at
  bool decoded = false;            // all of them, not their headers alone
  bool counted_tokens = false;
  std::map<std::pair<uint32_t, uint32_t>, uint64_t> sizes;  // (width, height) → pictures
  Problems problems;               // by kind, as problem_kinds() has them
  std::vector<std::string> notices;
  double seconds = 0;
};

// The kinds of problems, as --allow and --json call them, with what people call them.
const std::vector<std::pair<std::string, std::string>>& problem_kinds();

// The kind of a problem that the data room found.
std::string problem_kind_of(const ProblemKind& found);

std::string report_text(const ValidationReport& report);
Json report_json(const ValidationReport& report);

}  // namespace t2i
