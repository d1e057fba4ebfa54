#include "core/data/row_picture.h"

#include "core/data/decode.h"

namespace t2i {

static std::string subject_of(const Row& row, const std::string& column) {
  return column + " '" + row.values.at(column) + "'";
}

std::string PictureReader::file(const Row& row, const std::string& column) const {
  const std::string& path = row.values.at(column);
  return path.starts_with('/') || dataset_.root == "." ? path : dataset_.root + "/" + path;
}

std::optional<PictureSize> PictureReader::size(const Row& row, const std::string& column) const {
  auto opened = folder_.open(row.values.at(column), row.where, subject_of(row, column));
  return opened ? picture_size(*opened) : std::nullopt;
}

Result<std::vector<std::byte>> PictureReader::bytes(const Row& row, const std::string& column, const DecodeLimits& limits) const {
  auto opened = folder_.open(row.values.at(column), row.where, subject_of(row, column));
  if (!opened) return opened.error();
  return read_all(opened.take(), limits.max_file_bytes, row.where, subject_of(row, column));
}

Result<Image> PictureReader::image(const Row& row, const std::string& column, const DecodeLimits& limits) const {
  auto read = bytes(row, column, limits);
  if (!read) return read.error();
  const std::string shown = file(row, column);
  auto image = decode(*read, shown, limits);
  if (image || shown == row.where) return image;
  Error error = image.error();
  error.what += " (" + row.where + ")";
  return error;
}

}  // namespace t2i
