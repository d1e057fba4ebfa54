#include "core/generate/latents_file.h"

#include <fmt/format.h>

#include "core/base/error.h"
#include "core/checkpoint/own_file.h"
#include "core/model/load.h"

namespace t2i {

LatentsFile::LatentsFile(const std::string& path, int64_t channels, size_t pictures) : path_(path) {
  if (path.empty()) return;
  SafetensorsFile file = open_safetensors(path).take();
  const TensorEntry* entry = file.find("latents");
  if (!entry) fail({path, "there is no tensor 'latents' in it", "", "name it so", "E6008", Exit::bad_data});
  const std::vector<int64_t>& shape = entry->shape;
  if (shape.size() != 4 || shape[0] != static_cast<int64_t>(pictures) || shape[1] != channels || shape[2] < 1 || shape[3] < 1)
    fail({path, fmt::format("'latents' is [{}]", fmt::join(shape, ",")), fmt::format("{} pictures of {} channels are drawn", pictures, channels),
          fmt::format("give [{},{},height,width]", pictures, channels), "E6008", Exit::bad_data});
  latents_ = stored_tensor(*entry).to(at::kFloat, false, true);
  if (std::optional<Error> damage = file.damage()) fail(*damage);
}

void LatentsFile::require(DrawnSize wanted, int64_t downscale) const {
  if (!given() || size(downscale) == wanted) return;
  DrawnSize has = size(downscale);
  fail({path_, fmt::format("the latents are for {}x{} pixels, the picture is {}x{}", has.width, has.height, wanted.width, wanted.height), "",
        "give latents of the picture's size, or --size", "E6008", Exit::bad_data});
}

at::Tensor LatentsFile::noise(size_t picture) const {
  return given() ? latents_.narrow(0, static_cast<int64_t>(picture), 1) : at::Tensor();
}

void LatentsFile::keep(const at::Tensor& noise, const at::Tensor& final_latents) {
  noise_.push_back(noise.to(at::kCPU));
  final_.push_back(final_latents.to(at::kCPU));
}

void LatentsFile::save(const std::string& path) const {
  for (const at::Tensor& noise : noise_)
    if (noise.sizes().slice(1) != noise_[0].sizes().slice(1))
      fail({"--save-latents", "pictures of several sizes do not fit into one tensor", "", "give --size", "E6008", Exit::usage});
  at::Tensor noise = at::cat(noise_).contiguous(), final_latents = at::cat(final_).contiguous();
  write_own_file(path, "--save-latents",
                 {tensor_source("latents", noise), tensor_source("final_latents", final_latents)});
}

}  // namespace t2i
