// Stored tensors a piece at a time. What a process reads of a file that it maps counts as its memory until the pages are given
// back, so a tensor that is copied whole is there twice. In pieces that are given back as they are copied, loading takes the
// weights' own size and a few megabytes, however large a single tensor is.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "core/checkpoint/model_folder.h"

namespace t2i {

constexpr int64_t stored_piece_bytes = int64_t{16} << 20;

// Gives the pages of these bytes of a file back (MappedFile::unload).
using Unload = std::function<void(Bytes)>;
Unload unload_of(const WeightSet& weights);

// Calls body(piece, begin) for successive pieces of the tensor's elements `begin` to `end` in row-major order: each is flat, a
// view of the file, and gone when body returns. `begin` is the piece's place in the tensor.
void for_each_piece(const TensorEntry& entry, int64_t begin, int64_t end, const Unload& unload, const std::function<void(const at::Tensor&, int64_t)>& body);
void for_each_piece(const TensorEntry& entry, const Unload& unload, const std::function<void(const at::Tensor&, int64_t)>& body);

// Copies the tensor into `to`, which has as many elements, in the type and on the device that it has there.
void copy_stored(const TensorEntry& entry, at::Tensor to, const Unload& unload);

}  // namespace t2i
