#include "core/model/stored_pieces.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/model/load.h"

namespace t2i {

Unload unload_of(const WeightSet& weights) {
  return [&weights](Bytes copied) {
    for (const SafetensorsFile& file : weights.files)
      if (file.map) file.map->unload(copied);
  };
}

void for_each_piece(const TensorEntry& entry, int64_t begin, int64_t end, const Unload& unload, const std::function<void(const at::Tensor&, int64_t)>& body) {
  const at::Tensor flat = stored_tensor(entry).view({-1});
  const int64_t each = static_cast<int64_t>(flat.element_size()), at_once = stored_piece_bytes / each;
  for (; begin < end; begin += at_once) {
    const int64_t n = std::min(at_once, end - begin);
    body(flat.narrow(0, begin, n), begin);
    unload(entry.bytes.subspan(static_cast<size_t>(begin * each), static_cast<size_t>(n * each)));
  }
}

void for_each_piece(const TensorEntry& entry, const Unload& unload, const std::function<void(const at::Tensor&, int64_t)>& body) {
  for_each_piece(entry, 0, entry.elements(), unload, body);
}

void copy_stored(const TensorEntry& entry, at::Tensor to, const Unload& unload) {
  TORCH_CHECK(to.numel() == entry.elements() && to.is_contiguous(), "'", entry.name, "' is copied into ", to.sizes());
  at::Tensor flat = to.view({-1});
  for_each_piece(entry, unload, [&](const at::Tensor& piece, int64_t begin) { flat.narrow(0, begin, piece.numel()).copy_(piece); });
}

}  // namespace t2i
