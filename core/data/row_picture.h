// The pictures of a data set's rows, by row and column: their files, their sizes, their bytes, their pixels. Any thread.
#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "core/data/dataset.h"
#include "core/data/file.h"
#include "core/data/image.h"
#include "core/data/limits.h"
#include "core/data/picture_size.h"

namespace t2i {

// Rows must have a value in the columns that are asked for. Errors of DataFolder::open and read_all.
class PictureReader {
  const Dataset& dataset_;
  const DataFolder folder_;

 public:
  explicit PictureReader(const Dataset& dataset) : dataset_(dataset), folder_(dataset.root, dataset.allow_outside) {}

  // Of the file that holds this picture and nothing else; empty where there is none.
  std::string file(const Row& row, const std::string& column) const;
  // Upright, by the file's header; nothing where it is no picture, or not there.
  std::optional<PictureSize> size(const Row& row, const std::string& column) const;
  Result<std::vector<std::byte>> bytes(const Row& row, const std::string& column, const DecodeLimits& limits) const;
  // decode()d; an error of the picture names the row, too.
  Result<Image> image(const Row& row, const std::string& column, const DecodeLimits& limits) const;
};

}  // namespace t2i
