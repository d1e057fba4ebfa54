// Which pictures a data set has, by content: the hash of each file's bytes and its size in pixels. Nothing is decoded,
// and a file that was seen before is not read (core/cache/known_files.h).
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/cache/known_files.h"
#include "core/data/dataset.h"
#include "core/data/loader.h"

namespace t2i {

struct PictureId {
  std::string hash;           // 32 digits, XXH3-128 of the file
  int width = 0, height = 0;  // upright
};

struct RowIds {
  std::vector<PictureId> columns;  // of the image columns that the row has, in the order of LoaderOptions::columns
  bool usable = false;             // false: a picture is not there, is none, or does not go with its fellow
};

struct PictureScan {
  int share = 0, shares = 1;  // of what is not known only every `shares`-th row is read, beginning with number `share`
  int threads = 1;
  std::function<void(int64_t done, int64_t all)> progress{};  // by the caller's thread
  std::function<bool()> stop{};                               // asked between files
};

// By row. Rows that belong to another share and are not known come back as nothing.
std::vector<std::optional<RowIds>> scan_pictures(const Dataset& dataset, const LoaderOptions& loader, KnownFiles& known,
                                                      const PictureScan& scan);

}  // namespace t2i
