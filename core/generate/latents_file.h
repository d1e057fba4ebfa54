// --latents and --save-latents: the noise that pictures begin with, given or kept.
//
// A safetensors file with "latents" [n,C,h,w]: standard normal noise for picture 0 … n − 1, as published pipelines take
// it by that name. What is saved holds besides "final_latents": what was decoded, as the denoiser leaves it.
#pragma once
#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "core/generate/source_image.h"

namespace t2i {

class LatentsFile {
 public:
  // An empty path: none given. Failures: those of open_safetensors, E6008 where the tensor is missing or does not fit.
  LatentsFile(const std::string& path, int64_t channels, size_t pictures);

  bool given() const { return latents_.defined(); }
  DrawnSize size(int64_t downscale) const { return {latents_.size(3) * downscale, latents_.size(2) * downscale}; }
  void require(DrawnSize size, int64_t downscale) const;  // E6008 unless the latents are of this size, or none given

  at::Tensor noise(size_t picture) const;  // [1,C,h,w]; undefined where none was given

  void keep(const at::Tensor& noise, const at::Tensor& final_latents);
  void save(const std::string& path) const;  // E6008 where the pictures were of several sizes; those of write_own_file

 private:
  std::string path_;
  at::Tensor latents_;
  std::vector<at::Tensor> noise_, final_;
};

}  // namespace t2i
