#include "core/train/norm.h"

#include <ATen/ATen.h>

namespace t2i {

at::Tensor norm_of(const at::Tensor& x) {
  constexpr int64_t block = 1024;
  const int64_t whole = x.numel() / block * block;
  if (whole == 0) return at::linalg_vector_norm(x, 2, {}, false, at::kFloat);
  at::Tensor norms = at::linalg_vector_norm(x.narrow(0, 0, whole).view({-1, block}), 2, at::IntArrayRef{1}, false, at::kFloat);
  if (whole == x.numel()) return norm_of(norms);
  at::Tensor rest = at::linalg_vector_norm(x.narrow(0, whole, x.numel() - whole), 2, {}, false, at::kFloat);
  return norm_of(at::cat({norms, rest.reshape({1})}));
}

}  // namespace t2i
