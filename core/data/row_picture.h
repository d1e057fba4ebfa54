// A picture of a row: its file's bytes, and their pixels.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "core/data/dataset.h"
#include "core/data/file.h"
#include "core/data/image.h"
#include "core/data/limits.h"

namespace t2i {

// The file that the row names in an image column, opened. Errors of DataFolder::open.
Result<OpenedFile> open_picture(const Row& row, const std::string& column, const DataFolder& folder);

// The path as messages show it.
std::string shown_picture(const Dataset& dataset, const std::string& path);

// decode() of the bytes of that file; an error names the row, too.
Result<Image> decode_picture(const Dataset& dataset, const Row& row, const std::string& column,
                             const std::vector<std::byte>& bytes, const DecodeLimits& limits);

// Opened, read and decoded.
Result<Image> read_picture(const Dataset& dataset, const Row& row, const std::string& column, const DataFolder& folder,
                           const DecodeLimits& limits);

}  // namespace t2i
