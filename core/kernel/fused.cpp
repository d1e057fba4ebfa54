// Fused pieces by name: ops that models call through the door. Each has an ATen form, which is also the oracle of any
// faster kernel registered for a device.
#include <ATen/ATen.h>
#include <torch/library.h>

#include "core/kernel/rounded.h"

namespace t2i {
namespace {

// silu(group_norm(x)): x [B,C,...]; weight, bias [C].
at::Tensor group_norm_silu(const at::Tensor& x, int64_t groups, const std::optional<at::Tensor>& weight,
                           const std::optional<at::Tensor>& bias, double eps) {
  return at::silu(at::group_norm(x, groups, weight, bias, eps));
}

// x [...,2d] -> x[..., :d] * gelu(x[..., d:]) (Shazeer 2020, arXiv:2002.05202).
at::Tensor geglu(const at::Tensor& x) {
  auto halves = x.chunk(2, -1);
  return halves[0] * at::gelu(halves[1]);
}

// q [B,L,heads*d], k and v [B,S,heads*d] -> [B,L,heads*d]: softmax(q k^T / sqrt d) v for each head.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads) {
  auto split = [&](const at::Tensor& t) {
    return t.view({t.size(0), t.size(1), heads, t.size(2) / heads}).transpose(1, 2);
  };
  at::Tensor out;
  if (auto type = rounded_type(q)) {
    WithoutAutocast as_it_is;
    auto in = [&](const at::Tensor& t) { return split(rounded(t, *type)); };
    out = at::scaled_dot_product_attention(in(q), in(k), in(v)).to(*type);
  } else {
    out = at::scaled_dot_product_attention(split(q), split(k), split(v));
  }
  return out.transpose(1, 2).reshape({q.size(0), q.size(1), q.size(2)});
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(t2i, m) {
  m.def("group_norm_silu(Tensor x, int groups, Tensor? weight, Tensor? bias, float eps) -> Tensor");
  m.def("geglu(Tensor x) -> Tensor");
  m.def("attention(Tensor q, Tensor k, Tensor v, int heads) -> Tensor");
}
TORCH_LIBRARY_IMPL(t2i, CompositeImplicitAutograd, m) {
  m.impl("group_norm_silu", group_norm_silu);
  m.impl("geglu", geglu);
  m.impl("attention", attention);
}

}  // namespace t2i
