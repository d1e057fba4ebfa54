// What a picture was made with, as text in the picture: the form that the AUTOMATIC1111 web interface began and other
// tools read (PNG keyword "parameters").
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace t2i {

struct PictureParameters {
  std::string prompt, negative;
  int64_t steps = 0;
  std::string sampler;  // as --sampler names it
  std::optional<double> guidance, image_guidance;
  uint64_t seed = 0;
  int64_t width = 0, height = 0;
  std::string model;
};

// The prompt; "Negative prompt: …" where there is one; "Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 1, Size:
// 512x512, Model: name". A value with a comma, a colon or a line break is written as a JSON string.
std::string parameters_text(const PictureParameters& parameters);

}  // namespace t2i
