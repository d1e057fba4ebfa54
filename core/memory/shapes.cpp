#include "core/memory/shapes.h"

#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>
#include <ATen/OpMathType.h>
#include <ATen/WrapDimUtils.h>

#include <map>

namespace t2i {
namespace {

using Arguments = c10::ArrayRef<c10::IValue>;
using Results = std::vector<c10::IValue>;

at::Tensor contiguous_like(const at::Tensor& t) { return at::empty(t.sizes(), t.options()); }
at::Tensor like_if(bool wanted, const at::Tensor& t) { return wanted ? contiguous_like(t) : at::Tensor(); }

// oneDNN brings what it multiplies into an order of its own and the result back: for a moment everything is there twice.
void reordered(std::initializer_list<at::Tensor> tensors) {
  int64_t bytes = 0;
  for (const at::Tensor& t : tensors)
    if (t.defined() && t.is_cpu()) bytes += static_cast<int64_t>(t.nbytes());
  if (bytes) at::empty({bytes}, at::kByte);
}

Results convolution(Arguments a) {
  const at::Tensor x = a[0].toTensor(), weight = a[1].toTensor();
  const auto stride = a[3].toIntVector(), padding = a[4].toIntVector(), dilation = a[5].toIntVector(), more = a[7].toIntVector();
  const bool transposed = a[6].toBool();
  std::vector<int64_t> shape{x.size(0), transposed ? weight.size(1) * a[8].toInt() : weight.size(0)};
  for (size_t i = 0; i + 2 < static_cast<size_t>(x.dim()); ++i) {
    auto of = [i](const std::vector<int64_t>& v) { return v[v.size() == 1 ? 0 : i]; };
    const int64_t in = x.size(static_cast<int64_t>(i) + 2), reach = of(dilation) * (weight.size(static_cast<int64_t>(i) + 2) - 1);
    shape.push_back(transposed ? (in - 1) * of(stride) - 2 * of(padding) + reach + of(more) + 1
                               : (in + 2 * of(padding) - reach - 1) / of(stride) + 1);
  }
  at::Tensor y = at::empty(shape, x.options());
  reordered({x, weight, y});
  return {y};
}

Results convolution_backward(Arguments a) {
  const at::Tensor g = a[0].toTensor(), x = a[1].toTensor(), weight = a[2].toTensor();
  const auto wanted = a[10].toBoolList();
  at::Tensor of_x = like_if(wanted.get(0), x), of_weight = like_if(wanted.get(1), weight);
  at::Tensor of_bias = wanted.get(2) ? at::empty({weight.size(0)}, g.options()) : at::Tensor();
  reordered({g, wanted.get(0) ? of_x : x, weight});
  return {of_x, of_weight, of_bias};
}

// Heads lie beside each other within a token.
at::Tensor by_token(const at::Tensor& q_BHLD) {
  return at::empty({q_BHLD.size(0), q_BHLD.size(2), q_BHLD.size(1), q_BHLD.size(3)}, q_BHLD.options()).transpose(1, 2);
}

Results flash_attention(Arguments a) {
  const at::Tensor q = a[0].toTensor();
  at::Tensor sums = at::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(at::toOpMathType(q.scalar_type())));
  return {by_token(q), sums.transpose(1, 2)};
}
Results flash_attention_backward(Arguments a) {
  return {by_token(a[1].toTensor()), by_token(a[2].toTensor()), by_token(a[3].toTensor())};
}

Results layer_norm(Arguments a) {
  const at::Tensor x = a[0].toTensor();
  std::vector<int64_t> moments = x.sizes().vec();
  const size_t normalized = a[1].toIntVector().size();
  for (size_t i = moments.size() - normalized; i < moments.size(); ++i) moments[i] = 1;
  return {contiguous_like(x), at::empty(moments, x.options()), at::empty(moments, x.options())};
}
Results layer_norm_backward(Arguments a) {
  const auto wanted = a[7].toBoolList();
  auto of = [&](size_t i) { return a[i].isTensor() ? a[i].toTensor() : at::Tensor(); };
  return {like_if(wanted.get(0), of(1)), like_if(wanted.get(1) && of(5).defined(), of(5)), like_if(wanted.get(2) && of(6).defined(), of(6))};
}

Results group_norm(Arguments a) {
  const at::Tensor x = a[0].toTensor();
  auto moments = [&] { return at::empty({a[3].toInt(), a[6].toInt()}, x.options()); };
  return {contiguous_like(x), moments(), moments()};
}
Results group_norm_backward(Arguments a) {
  const at::Tensor x = a[1].toTensor();
  const auto wanted = a[9].toBoolList();
  auto of_channels = [&](bool is_wanted) { return is_wanted ? at::empty({a[6].toInt()}, x.options()) : at::Tensor(); };
  return {like_if(wanted.get(0), x), of_channels(wanted.get(1)), of_channels(wanted.get(2))};
}

Results index_select(Arguments a) {
  const at::Tensor x = a[0].toTensor();
  std::vector<int64_t> shape = x.sizes().vec();
  shape[static_cast<size_t>(at::maybe_wrap_dim(a[1].toInt(), x.dim()))] = a[2].toTensor().numel();
  return {at::empty(shape, x.options())};
}

Results where(Arguments a) {
  const at::Tensor yes = a[1].toTensor(), no = a[2].toTensor();
  const std::vector<int64_t> shape = at::infer_size(at::infer_size(a[0].toTensor().sizes(), yes.sizes()), no.sizes());
  return {at::empty(shape, yes.options().dtype(at::result_type(yes, no)))};
}

}  // namespace

Shapes shapes_of(const std::string& operation) {
  static const std::map<std::string, Shapes> known{
      {"aten::convolution", convolution},
      {"aten::convolution_backward", convolution_backward},
      {"aten::_scaled_dot_product_flash_attention_for_cpu", flash_attention},
      {"aten::_scaled_dot_product_flash_attention_for_cpu_backward", flash_attention_backward},
      {"aten::native_layer_norm", layer_norm},
      {"aten::native_layer_norm_backward", layer_norm_backward},
      {"aten::native_group_norm", group_norm},
      {"aten::native_group_norm_backward", group_norm_backward},
      {"aten::index_select", index_select},
      {"aten::where", where},
  };
  auto found = known.find(operation);
  return found == known.end() ? nullptr : found->second;
}

}  // namespace t2i
