#include "core/data/row_picture.h"

#include "core/data/decode.h"

namespace t2i {

static std::string subject_of(const Row& row, const std::string& column) {
  return column + " '" + row.values.at(column) + "'";
}

std::string PictureReader::file(const Row& row, const std::string& column) const { return pictures_.file(row.values.at(column)); }

std::optional<PictureSize> PictureReader::size(const Row& row, const std::string& column) const {
  auto size = size_of_picture(pictures_, row.values.at(column), row.where, subject_of(row, column));
  return size ? *size : std::nullopt;
}

Result<PictureBytes> PictureReader::bytes(const Row& row, const std::string& column, const DecodeLimits& limits) const {
  return pictures_.read(row.values.at(column), limits.max_file_bytes, row.where, subject_of(row, column));
}

Result<Image> PictureReader::image(const Row& row, const std::string& column, const DecodeLimits& limits) const {
  auto read = bytes(row, column, limits);
  if (!read) return read.error();
  const std::string shown = pictures_.shown(row.values.at(column));
  auto image = decode(*read, shown, limits);
  if (image || shown == row.where) return image;
  Error error = image.error();
  error.what += " (" + row.where + ")";
  return error;
}

}  // namespace t2i
