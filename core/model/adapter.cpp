#include "core/model/adapter.h"

#include <ATen/ATen.h>

#include "core/kernel/rounded.h"

namespace t2i {

at::Tensor change_of(const LowRank& l, at::IntArrayRef weight_shape) {
  WithoutAutocast as_it_is;
  const int64_t rank = l.down.size(0);
  at::Tensor product = l.up.to(at::kFloat).reshape({-1, rank}).mm(l.down.to(at::kFloat).reshape({rank, -1}));
  return product.mul(l.scale).reshape(weight_shape);
}

at::Tensor row_lengths(const at::Tensor& weight) {
  return at::linalg_vector_norm(weight.to(at::kFloat).reshape({weight.size(0), -1}), 2, at::IntArrayRef{1});
}

at::Tensor merged(const at::Tensor& weight, const Adapter& adapter) {
  at::NoGradGuard no_grad;
  const at::Tensor base = weight.to(at::kFloat);
  at::Tensor sum = base;
  std::vector<int64_t> per_row(static_cast<size_t>(weight.dim()), 1);
  per_row[0] = -1;
  for (const LowRank& l : adapter.low_rank) {
    const at::Tensor change = change_of(l, weight.sizes());
    sum = sum + change;
    if (l.magnitude.defined()) sum = sum * (l.magnitude.to(at::kFloat) / row_lengths(base + change)).view(per_row);
  }
  return sum;
}

}  // namespace t2i
