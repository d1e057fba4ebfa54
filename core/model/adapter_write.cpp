#include "core/model/adapter_write.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <map>

#include "core/base/hash.h"
#include "core/model/load.h"

namespace t2i {
namespace {

void keep(AdapterTensors& out, const std::string& name, const at::Tensor& t) {
  out.sources.push_back(tensor_source(name, out.alive.emplace_back(t.contiguous())));
}

at::Tensor swapped_rows(const at::Tensor& t) {
  const int64_t half = t.size(0) / 2;
  return at::cat({t.narrow(0, half, half), t.narrow(0, 0, half)});
}

// [out] as peft has it beside a convolution: [1,out,1,1].
at::Tensor as_peft_has_it(const at::Tensor& magnitude, size_t dims) { return dims == 4 ? magnitude.view({1, -1, 1, 1}) : magnitude; }

// [out] as a column.
at::Tensor as_kohya_has_it(const at::Tensor& magnitude, size_t dims) {
  std::vector<int64_t> shape(dims, 1);
  shape[0] = -1;
  return magnitude.view(shape);
}

void keep_kohya(AdapterTensors& out, const std::string& name, const LowRank& l, size_t dims) {
  keep(out, name + ".lora_down.weight", l.down);
  keep(out, name + ".lora_up.weight", l.up);
  keep(out, name + ".alpha", at::scalar_tensor(l.scale * static_cast<double>(l.down.size(0)), at::kFloat));
  if (l.magnitude.defined()) keep(out, name + ".dora_scale", as_kohya_has_it(l.magnitude, dims));
}

// A tensor of the single file's with those of its layers that are adapted.
struct Joined {
  FilePlace place;
  std::vector<std::string> weights;
  std::map<std::string, const LayerAdapter*> adapted;
};

// One adapter that does what those of the tensor's layers do: A one behind another, B along the diagonal.
LowRank joined(const Joined& tensor, const ParamStore& store) {
  if (tensor.weights.size() == 1) return tensor.adapted.begin()->second->low_rank;
  LowRank sum;
  std::vector<at::Tensor> downs, magnitudes;
  int64_t rows = 0, rank = 0, row = 0, column = 0;
  auto shape_of = [&](const std::string& weight) -> const std::vector<int64_t>& { return store.find(weight)->shape; };
  for (const std::string& weight : tensor.weights) {
    rows += shape_of(weight)[0];
    if (auto at = tensor.adapted.find(weight); at != tensor.adapted.end()) rank += at->second->low_rank.down.size(0);
  }
  sum.up = at::zeros({rows, rank}, at::kFloat);
  const LowRank& first = tensor.adapted.begin()->second->low_rank;
  sum.scale = first.scale;
  for (const std::string& weight : tensor.weights) {
    const int64_t own_rows = shape_of(weight)[0], at_row = std::exchange(row, row + own_rows);
    auto at = tensor.adapted.find(weight);
    if (first.magnitude.defined())
      magnitudes.push_back(at == tensor.adapted.end() ? row_lengths(store.find(weight)->value).to(at::kCPU) : at->second->low_rank.magnitude);
    if (at == tensor.adapted.end()) continue;
    const LowRank& l = at->second->low_rank;
    const int64_t r = l.down.size(0);
    downs.push_back(l.down);
    sum.up.narrow(0, at_row, own_rows).narrow(1, column, r).copy_(l.up);
    column += r;
  }
  sum.down = at::cat(downs);
  if (!magnitudes.empty()) sum.magnitude = at::cat(magnitudes);
  return sum;
}

}  // namespace

AdapterTensors peft_form(const std::vector<LayerAdapter>& layers) {
  at::NoGradGuard no_grad;
  AdapterTensors out;
  for (const LayerAdapter& layer : layers) {
    const std::string name = layer.part->name + "." + layer_of(layer.weight->name);
    keep(out, name + ".lora_A.weight", layer.low_rank.down);
    keep(out, name + ".lora_B.weight", layer.low_rank.scale == 1 ? layer.low_rank.up : layer.low_rank.up * layer.low_rank.scale);
    if (layer.low_rank.magnitude.defined())
      keep(out, name + ".lora_magnitude_vector", as_peft_has_it(layer.low_rank.magnitude, layer.weight->shape.size()));
  }
  return out;
}

AdapterTensors kohya_form(const std::vector<LayerAdapter>& layers, bool by_file, const ParamStore& store) {
  at::NoGradGuard no_grad;
  AdapterTensors out;
  std::map<std::string, Joined> tensors;  // of the single file
  for (const LayerAdapter& layer : layers) {
    const AdapterPart& part = *layer.part;
    const size_t dims = layer.weight->shape.size();
    if (!by_file || !part.form || !part.is_denoiser) {
      keep_kohya(out, part.flattened.front() + flattened(layer_of(layer.weight->name)), layer.low_rank, dims);
      continue;
    }
    const std::vector<FilePlace> places = places_of(*part.form, layer.weight->name);
    TORCH_CHECK(!places.empty(), "the family's table of single files leaves out ", layer.weight->name);
    Joined& tensor = tensors[places.front().tensor];
    tensor.place = places.front(), tensor.weights = parameters_at(places.front(), layer.weight->name);
    tensor.adapted[layer.weight->name] = &layer;
  }
  for (const auto& [name, tensor] : tensors) {
    const AdapterPart& part = *tensor.adapted.begin()->second->part;
    LowRank l = joined(tensor, store);
    if (tensor.place.row->change == FileRow::Change::swapped) {
      l.up = swapped_rows(l.up);
      if (l.magnitude.defined()) l.magnitude = swapped_rows(l.magnitude);
    }
    keep_kohya(out, part.flattened.front() + flattened(layer_of(name)), l, static_cast<size_t>(l.down.dim()));
  }
  return out;
}

std::string data_hash(const std::vector<TensorSource>& sources) {
  std::string data;
  bool header = true;  // comes first and in one piece
  stream_safetensors(sources, {}, [&](Bytes piece) {
    if (!std::exchange(header, false)) data.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  });
  return sha256_hex(as_bytes(data));
}

}  // namespace t2i
