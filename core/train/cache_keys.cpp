#include "core/train/cache_keys.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/hash.h"

namespace t2i {
namespace {

TransformOptions centred(TransformOptions transform) {
  transform.center_crop = true, transform.random_flip = false;
  return transform;
}

const char* name_of(Filter filter) {
  return filter == Filter::bilinear ? "bilinear" : filter == Filter::bicubic ? "bicubic" : "lanczos";
}

}  // namespace

int64_t crops_of(const TransformOptions& transform, int64_t asked, const PictureId& first) {
  if (transform.center_crop) return 1;
  const Geometry g = derive_geometry(centred(transform), first.width, first.height, {});
  return g.resized_width == g.width && g.resized_height == g.height ? 1 : std::max<int64_t>(1, asked);
}

Geometry cached_geometry(const TransformOptions& transform, const PictureId& first, int64_t crop, bool flip) {
  TransformOptions options = centred(transform);
  options.center_crop = crop == 0;
  const DrawKey place{std::stoull(first.hash.substr(0, 16), nullptr, 16), static_cast<uint64_t>(crop), 0, 0};
  Geometry geometry = derive_geometry(options, first.width, first.height, place);
  geometry.flip = flip;
  return geometry;
}

Geometry chosen_geometry(const TransformOptions& transform, const PictureId& first, int64_t asked, const DrawKey& key) {
  const int64_t crops = crops_of(transform, asked, first);
  DrawKey draw = key;
  draw.stream = stream_id("cached_crop");
  const auto crop = crops == 1 ? 0 : std::min(crops - 1, static_cast<int64_t>(static_cast<double>(philox_uniform(draw)) * static_cast<double>(crops)));
  const bool flip = transform.random_flip && derive_geometry(transform, first.width, first.height, key).flip;
  return cached_geometry(transform, first, crop, flip);
}

std::vector<Geometry> cached_geometries(const TransformOptions& transform, const PictureId& first, int64_t asked) {
  std::vector<Geometry> all;
  for (int64_t crop = 0; crop < crops_of(transform, asked, first); ++crop)
    for (bool flip : {false, true})
      if (!flip || transform.random_flip) all.push_back(cached_geometry(transform, first, crop, flip));
  return all;
}

std::string latents_key(const std::string& picture_hash, const Geometry& g, Filter filter, const std::string& encoder) {
  return xxh3_hex(as_bytes(fmt::format("latents of {} resized {}x{} {} crop {},{} {}x{} flip {} by {}", picture_hash, g.resized_width,
                                       g.resized_height, name_of(filter), g.crop_top, g.crop_left, g.width, g.height, g.flip, encoder)));
}

std::string text_key(const std::string& text, const std::string& encoder) {
  return xxh3_hex(as_bytes(fmt::format("text by {}: {}", encoder, text)));
}

}  // namespace t2i
