#include "core/data/row_pictures.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/hash.h"

namespace t2i {
namespace {

std::optional<Error> too_large(const PictureSize& size, const Row& row, const std::string& name, const DecodeLimits& limits) {
  if (uint64_t{size.width} * size.height <= limits.max_pixels && std::max(size.width, size.height) <= limits.max_side) return std::nullopt;
  return Error{row.where, fmt::format("'{}' is {} x {} pixels", name, size.width, size.height), fmt::format("At most {} are read", limits.max_pixels),
               "make it smaller, or raise data.max_pixels", "E3007", Exit::bad_data};
}

}  // namespace

RowPictures look_at_row(const Row& row, const std::vector<ColumnSpec>& columns, const Pictures& pictures, const DecodeLimits& limits,
                        bool resize_mismatched, bool with_digests) {
  RowPictures out;
  for (const ColumnSpec& column : columns) {
    auto named = row.values.find(column.name);
    if (!column.is_image || named == row.values.end()) continue;
    const std::string& name = named->second;
    PictureBytes first;
    auto size = size_of_picture(pictures, name, row.where, fmt::format("{} '{}'", column.in_data(), name), with_digests ? &first : nullptr);
    if (!size) return out.wrong = size.error(), out;
    if (with_digests) out.digests.push_back(xxh3_hex(first));
    if (!*size)
      return out.wrong = Error{row.where, fmt::format("'{}' begins like no JPEG, PNG or WebP", name), "",
                               "replace it with the picture itself", "E3002", Exit::bad_data},
             out;
    const PictureSize& got = **size;
    if ((out.wrong = too_large(got, row, name, limits))) return out;
    const bool differs = !out.sizes.empty() && (out.sizes[0].width != got.width || out.sizes[0].height != got.height);
    if (differs && !resize_mismatched)
      return out.wrong = Error{row.where,
                               fmt::format("'{}' is {} x {} pixels, the picture it belongs to {} x {}", name, got.width, got.height,
                                           out.sizes[0].width, out.sizes[0].height),
                               "", "make them alike, or set data.on_mismatch: resize", "E3006", Exit::bad_data},
             out;
    out.sizes.push_back(got);
  }
  return out;
}

}  // namespace t2i
