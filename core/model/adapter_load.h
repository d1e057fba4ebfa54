// An adapter's factors out of its file, layer by layer of the model's own names.
#pragma once
#include <vector>

#include "core/checkpoint/adapter_file.h"
#include "core/model/adapter.h"

namespace t2i {

struct LayerAdapter {
  const AdapterPart* part = nullptr;
  const NamedShape* weight = nullptr;
  LowRank low_rank;  // float32 in host memory
};

// A file's tensor may hold several layers (queries, keys and values in one): they share A and have their rows of B each. One
// that was put together of several smaller ones, with zeros off the diagonal of B, is taken apart into these again, and
// where its rows of B are all zero a layer is left out. E4108 where the file was changed meanwhile.
std::vector<LayerAdapter> layer_adapters(const AdapterFile& adapter);

// The largest relative difference between what two adapters of a layer do to a vector drawn once for all; their
// magnitudes' too. 0 when they are the same.
double difference(const LowRank& a, const LowRank& b, at::IntArrayRef weight_shape);

}  // namespace t2i
