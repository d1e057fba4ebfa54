// The pictures of a row by their headers: what would stop a run at it, found without decoding.
#pragma once
#include <optional>
#include <vector>

#include "core/data/dataset.h"
#include "core/data/limits.h"
#include "core/data/pictures.h"

namespace t2i {

struct RowPictures {
  std::vector<PictureSize> sizes;  // in the order of the columns
  std::vector<std::string> digests;  // of their first bytes, where asked for
  std::optional<Error> wrong;      // E3002 no picture, E3006 sizes that differ, E3007 too large, and those of reading
};

// `resize_mismatched`: pictures of one row may differ in size.
RowPictures look_at_row(const Row& row, const std::vector<ColumnSpec>& columns, const Pictures& pictures,
                        const DecodeLimits& limits, bool resize_mismatched, bool with_digests = false);

}  // namespace t2i
