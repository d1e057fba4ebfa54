// Under which keys the pictures and texts of a run lie in its cache, and which crop and flip a sample takes of those
// that are there.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/data/loader.h"
#include "core/train/picture_ids.h"

namespace t2i {

// How many crops are cached of a picture. One where there is nothing to choose: data.center_crop, or a picture that has
// the target's shape.
int64_t crops_of(const TransformOptions& transform, int64_t asked, const PictureId& first);

// Crop number `crop` of a sample, mirrored or not; `first` is its first picture. Number 0 is the middle, the others lie
// at places drawn from the picture's own content, so that runs of other seeds find them too.
Geometry cached_geometry(const TransformOptions& transform, const PictureId& first, int64_t crop, bool flip);

// The one that a draw takes. The flip is what derive_geometry() draws of this key: where there is one crop a sample is
// what it would be without a cache.
Geometry chosen_geometry(const TransformOptions& transform, const PictureId& first, int64_t asked, const DrawKey& key);

// All that may be drawn.
std::vector<Geometry> cached_geometries(const TransformOptions& transform, const PictureId& first, int64_t asked);

std::string latents_key(const std::string& picture_hash, const Geometry& geometry, Filter filter, const std::string& encoder);
std::string text_key(const std::string& text, const std::string& encoder);

}  // namespace t2i
