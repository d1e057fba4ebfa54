// Where generated pictures go. What lies there already is only replaced when `generate` itself wrote it.
//
//   simple   PATH.png for one picture, else PATH/00000.png, 00001.png, …
//   coco     PATH/images/000000000001.png, … and PATH/annotations.json: {"info", "images": [{"id", "file_name", "width",
//            "height"}], "annotations": [{"id", "image_id", "caption"}]}, as the COCO captions files are laid out
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "core/base/file.h"
#include "core/base/json.h"

namespace t2i {

class PictureFolder {
 public:
  // Failures: E6007 (73) a file in the way that `generate` did not write, E6012 (64) several pictures for one .png.
  PictureFolder(const std::string& output, const std::string& format, size_t pictures);

  Path path_of(size_t index) const;

  // rgb: height × width × 3 bytes. Whole or not at all; returns the path.
  Path write(size_t index, int64_t width, int64_t height, std::span<const uint8_t> rgb, const std::string& parameters);

  // Is picture `index` there, drawn with these parameters?
  bool holds(size_t index, const std::string& parameters) const;

  // For coco: the annotations of all pictures. `about[i]` is what describe() gave for picture i; nothing otherwise.
  void write_annotations(const std::vector<Json>& about) const;
  static Json describe(int64_t width, int64_t height, const std::string& caption, uint64_t seed);

 private:
  Path output_;
  bool single_ = false, coco_ = false;
};

}  // namespace t2i
