// The pictures that a task starts from, read and brought to the size that is drawn.
#pragma once
#include <ATen/ATen.h>

#include <cstdint>
#include <string>

namespace t2i {

struct DrawnSize {
  int64_t width = 0, height = 0;  // pixels; 0: not decided
  bool operator==(const DrawnSize&) const = default;
};

class SourceImages {
 public:
  // `size` undecided: each picture keeps its own, resized to the next smaller multiple of `place_px`. Otherwise it is
  // resized to cover `size` and cropped in the centre.
  SourceImages(DrawnSize size, int64_t place_px, at::Device device) : size_(size), place_px_(place_px), device_(device) {}

  // [1,3,H,W] in −1…1. Failures: those of load_image, E6013 a picture smaller than one place.
  at::Tensor load(const std::string& path);

 private:
  DrawnSize size_;
  int64_t place_px_;
  at::Device device_;
  std::string last_path_;  // several pictures from one source follow each other
  at::Tensor last_;
};

}  // namespace t2i
