#include "core/model/adapter_load.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "core/base/rng.h"
#include "core/model/load.h"

namespace t2i {
namespace {

at::Tensor float_tensor(const TensorEntry& entry) {
  at::Tensor stored = stored_tensor(entry);
  return stored.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
}

at::Tensor halves_swapped(const at::Tensor& t) {
  const int64_t half = t.size(0) / 2;
  return at::cat({t.narrow(0, half, half), t.narrow(0, 0, half)});
}

double scale_of(const AdapterLayer& layer) {
  if (!layer.alpha) return layer.scale.value_or(1);
  const double alpha = float_tensor(*layer.alpha).item<double>();
  return alpha == 0 ? 1 : alpha / static_cast<double>(layer.rank);  // kohya's programs write 0 for "as the rank"
}

bool is_zero(const at::Tensor& t) { return t.count_nonzero().item<int64_t>() == 0; }

// The rows of `up` [rows,R] of each of the layers that share it, with the rows of A [R,...] that they use.
std::vector<LowRank> members_of(const at::Tensor& down, const at::Tensor& up, const std::vector<const NamedShape*>& weights) {
  std::vector<LowRank> members;
  std::vector<size_t> there;
  int64_t row = 0;
  for (const NamedShape* weight : weights) {
    members.push_back({down, up.narrow(0, row, weight->shape[0]), 1, 0, {}});
    row += weight->shape[0];
    if (!is_zero(members.back().up)) there.push_back(members.size() - 1);
  }
  const bool all_zero = there.empty();
  if (all_zero)
    for (size_t i = 0; i < members.size(); ++i) there.push_back(i);
  const int64_t count = static_cast<int64_t>(there.size()), each = down.size(0) / count;
  bool diagonal = down.size(0) % count == 0 && count > 0;
  for (int64_t k = 0; diagonal && k < count; ++k) {
    const at::Tensor& own = members[there[static_cast<size_t>(k)]].up;
    diagonal = is_zero(own.narrow(1, 0, k * each)) && is_zero(own.narrow(1, (k + 1) * each, (count - 1 - k) * each));
  }
  std::vector<LowRank> out(weights.size());
  for (int64_t k = 0; k < count; ++k) {
    const size_t i = there[static_cast<size_t>(k)];
    out[i] = members[i];
    if (diagonal) out[i].down = down.narrow(0, k * each, each), out[i].up = members[i].up.narrow(1, k * each, each);
  }
  return out;
}

}  // namespace

std::vector<LayerAdapter> layer_adapters(const AdapterFile& adapter) {
  at::NoGradGuard no_grad;
  std::vector<LayerAdapter> all;
  for (const AdapterLayer& layer : adapter.layers) {
    const AdapterTarget& target = *layer.target;
    TORCH_CHECK(target.change != FileRow::Change::transposed, "adapters of transposed tensors are not supported: ", layer.name);
    const int64_t rows = layer.up->elements() / layer.rank;
    at::Tensor down = float_tensor(*layer.down).reshape({layer.rank, -1}), up = float_tensor(*layer.up).reshape({rows, layer.rank});
    at::Tensor magnitude = layer.magnitude ? float_tensor(*layer.magnitude).reshape({-1}) : at::Tensor();
    if (target.change == FileRow::Change::swapped) {
      up = halves_swapped(up);
      if (magnitude.defined()) magnitude = halves_swapped(magnitude);
    }
    std::vector<LowRank> members = target.weights.size() == 1 ? std::vector<LowRank>{{down, up, 1, 0, {}}} : members_of(down, up, target.weights);
    const double scale = scale_of(layer);
    int64_t row = 0;
    for (size_t i = 0; i < members.size(); ++i) {
      const NamedShape& weight = *target.weights[i];
      const int64_t own_rows = weight.shape[0], first = std::exchange(row, row + own_rows);
      LowRank& l = members[i];
      if (!l.down.defined() && !magnitude.defined()) continue;
      if (!l.down.defined()) l.down = down.narrow(0, 0, 1), l.up = up.narrow(0, first, own_rows).narrow(1, 0, 1);
      std::vector<int64_t> shape = weight.shape, up_shape(weight.shape.size(), 1);
      shape[0] = l.down.size(0), up_shape[0] = own_rows, up_shape[1] = l.down.size(0);
      l.down = l.down.reshape(shape).contiguous(), l.up = l.up.reshape(up_shape).contiguous();
      l.scale = scale;
      if (magnitude.defined()) l.magnitude = magnitude.narrow(0, first, own_rows).contiguous();
      all.push_back({target.part, &weight, std::move(l)});
    }
  }
  if (auto damage = adapter.file.damage()) fail(*damage);
  return all;
}

double difference(const LowRank& a, const LowRank& b, at::IntArrayRef weight_shape) {
  at::NoGradGuard no_grad;
  if (a.magnitude.defined() != b.magnitude.defined()) return 1;
  int64_t inputs = 1;
  for (int64_t d : weight_shape.slice(1)) inputs *= d;
  at::Tensor probe = at::empty({inputs, 1}, at::kFloat);
  philox_normal({1, 0, 0, stream_id("probe")}, {probe.mutable_data_ptr<float>(), static_cast<size_t>(inputs)});
  auto image = [&](const LowRank& l) {
    const int64_t rank = l.down.size(0);
    return l.up.to(at::kDouble).reshape({-1, rank}).mm(l.down.to(at::kDouble).reshape({rank, -1}).mm(probe.to(at::kDouble))).mul(l.scale);
  };
  auto relative = [](const at::Tensor& x, const at::Tensor& y) {
    const double size = y.abs().max().item<double>(), far = (x - y).abs().max().item<double>();
    return far == 0 ? 0.0 : far / std::max(size, 1e-30);
  };
  const double product = relative(image(a), image(b));
  return a.magnitude.defined() ? std::max(product, relative(a.magnitude.reshape({-1}).to(at::kDouble), b.magnitude.reshape({-1}).to(at::kDouble))) : product;
}

}  // namespace t2i
