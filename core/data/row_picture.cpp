#include "core/data/row_picture.h"

#include "core/data/decode.h"

namespace t2i {

static std::string subject_of(const Row& row, const std::string& column) {
  return column + " '" + row.values.at(column) + "'";
}

Result<OpenedFile> open_picture(const Row& row, const std::string& column, const DataFolder& folder) {
  return folder.open(row.values.at(column), row.where, subject_of(row, column));
}

std::string shown_picture(const Dataset& dataset, const std::string& path) {
  return path.starts_with('/') || dataset.root == "." ? path : dataset.root + "/" + path;
}

Result<Image> decode_picture(const Dataset& dataset, const Row& row, const std::string& column,
                             const std::vector<std::byte>& bytes, const DecodeLimits& limits) {
  const std::string shown = shown_picture(dataset, row.values.at(column));
  auto image = decode(bytes, shown, limits);
  if (image || shown == row.where) return image;
  Error error = image.error();
  error.what += " (" + row.where + ")";
  return error;
}

Result<Image> read_picture(const Dataset& dataset, const Row& row, const std::string& column, const DataFolder& folder,
                           const DecodeLimits& limits) {
  auto file = open_picture(row, column, folder);
  if (!file) return file.error();
  auto bytes = read_all(file.take(), limits.max_file_bytes, row.where, subject_of(row, column));
  if (!bytes) return bytes.error();
  return decode_picture(dataset, row, column, *bytes, limits);
}

}  // namespace t2i
