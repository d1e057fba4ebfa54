// The pictures of a data set's rows, by row and column: their files, their sizes, their bytes, their pixels. Any thread.
#pragma once
#include <optional>
#include <string>

#include "core/data/dataset.h"
#include "core/data/image.h"
#include "core/data/limits.h"
#include "core/data/picture_size.h"
#include "core/data/pictures.h"

namespace t2i {

// Rows must have a value in the columns that are asked for. Errors of Pictures::read.
class PictureReader {
  const Pictures& pictures_;

 public:
  explicit PictureReader(const Dataset& dataset) : pictures_(*dataset.pictures) {}

  // Of the file that holds this picture and nothing else; empty where there is none.
  std::string file(const Row& row, const std::string& column) const;
  // Upright, by the file's header; nothing where it is no picture, or not there.
  std::optional<PictureSize> size(const Row& row, const std::string& column) const;
  Result<PictureBytes> bytes(const Row& row, const std::string& column, const DecodeLimits& limits) const;
  // decode()d; an error of the picture names the row, too.
  Result<Image> image(const Row& row, const std::string& column, const DecodeLimits& limits) const;
};

}  // namespace t2i
