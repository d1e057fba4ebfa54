// Fused pieces by name: ops that models call through the door. Each has an ATen form, which is also the oracle of any
// faster kernel for a device. In float32 on a CPU, norms and gates run in one pass forward and one or two backward, and
// keep nothing but their input.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "core/base/dry_run.h"
#include "core/kernel/fused_rows.h"
#include "core/kernel/processor.h"
#include "core/kernel/rounded.h"

namespace t2i {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool in_rows(const at::Tensor& t) {
  return t.is_cpu() && t.scalar_type() == at::kFloat && has_wide_floats() && !in_dry_run_of_gpu();
}
bool in_rows(const std::optional<at::Tensor>& t) { return !t || !t->defined() || in_rows(*t); }

constexpr int64_t floats_per_thread = 16'384;  // less is not worth waking another

// Which group of x [B,C,...] with its floats.
struct Groups {
  const at::Tensor& x;
  at::Tensor weight, bias;
  int64_t count, channels = x.size(1) / count, each = x.numel() / (x.size(0) * x.size(1));
  int64_t all() const { return x.size(0) * count; }
  int64_t floats() const { return channels * each; }
  rows::Group at(int64_t k) const {
    auto of = [&](const at::Tensor& t) {
      return t.defined() ? t.const_data_ptr<float>() + k % count * channels : nullptr;
    };
    return {channels, each, of(weight), of(bias)};
  }
  template <class Body>
  void for_each(Body body) const {
    if (in_dry_run()) return;
    at::parallel_for(0, all(), std::max<int64_t>(1, floats_per_thread / floats()), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) body(k);
    });
  }
};

struct GroupNormSilu : torch::autograd::Function<GroupNormSilu> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_in, int64_t count,
                            const std::optional<at::Tensor>& weight_in, const std::optional<at::Tensor>& bias_in,
                            double eps) {
    at::Tensor x = x_in.contiguous(), y = at::empty_like(x);
    at::Tensor weight = weight_in.value_or(at::Tensor()), bias = bias_in.value_or(at::Tensor());
    Groups groups{x, weight.defined() ? weight.contiguous() : weight, bias.defined() ? bias.contiguous() : bias, count};
    at::Tensor moments = at::empty({2, groups.all()}, x.options());
    const float* from = x.const_data_ptr<float>();
    float *to = y.mutable_data_ptr<float>(), *mean = moments.mutable_data_ptr<float>(), *rstd = mean + groups.all();
    groups.for_each([&](int64_t k) {
      const int64_t at = k * groups.floats();
      rows::group_norm_silu(groups.at(k), static_cast<float>(eps), from + at, to + at, mean + k, rstd + k);
    });
    ctx->save_for_backward({x, groups.weight, groups.bias, moments});
    ctx->saved_data["groups"] = count;
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], g = grads[0].contiguous();
    Groups groups{x, saved[1], saved[2], ctx->saved_data["groups"].toInt()};
    at::Tensor grad_x = at::empty_like(x), shares = at::empty({2, x.size(0), x.size(1)}, x.options());
    const float *from = x.const_data_ptr<float>(), *mean = saved[3].const_data_ptr<float>(),
                *rstd = mean + groups.all(), *grad = g.const_data_ptr<float>();
    float *to = grad_x.mutable_data_ptr<float>(), *of_weight = shares.mutable_data_ptr<float>(),
          *of_bias = of_weight + x.size(0) * x.size(1);
    groups.for_each([&](int64_t k) {
      const int64_t at = k * groups.floats(), channel = k * groups.channels;
      rows::group_norm_silu_backward(groups.at(k), from + at, mean[k], rstd[k], grad + at, to + at, of_weight + channel,
                                     of_bias + channel);
    });
    at::Tensor sums = shares.sum(1);  // over the batch, in the same order whatever the number of threads
    return {grad_x, at::Tensor(), saved[1].defined() ? sums[0] : at::Tensor(),
            saved[2].defined() ? sums[1] : at::Tensor(), at::Tensor()};
  }
};

// silu(group_norm(x)): x [B,C,...]; weight, bias [C].
at::Tensor group_norm_silu(const at::Tensor& x, int64_t groups, const std::optional<at::Tensor>& weight,
                           const std::optional<at::Tensor>& bias, double eps) {
  const bool whole = x.dim() >= 2 && x.numel() > 0 && groups > 0 && x.size(1) % groups == 0;  // else: ATen's message
  if (whole && in_rows(x) && in_rows(weight) && in_rows(bias))
    return GroupNormSilu::apply(x, groups, weight, bias, eps);
  return at::silu(at::group_norm(x, groups, weight, bias, eps));
}

struct Geglu : torch::autograd::Function<Geglu> {
  template <class Body>
  static void for_each_row(const at::Tensor& x, Body body) {
    const int64_t d = x.size(-1) / 2;
    if (in_dry_run()) return;
    at::parallel_for(0, x.numel() / (2 * d), std::max<int64_t>(1, floats_per_thread / d),
                     [&](int64_t begin, int64_t end) {
                       for (int64_t row = begin; row < end; ++row) body(row * 2 * d, row * d, d);
                     });
  }
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_in) {
    at::Tensor x = x_in.contiguous();
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() /= 2;
    at::Tensor y = at::empty(shape, x.options());
    const float* from = x.const_data_ptr<float>();
    float* to = y.mutable_data_ptr<float>();
    for_each_row(x, [&](int64_t in, int64_t out, int64_t d) { rows::geglu(d, from + in, from + in + d, to + out); });
    ctx->save_for_backward({x});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    at::Tensor x = ctx->get_saved_variables()[0], g = grads[0].contiguous(), grad_x = at::empty_like(x);
    const float *from = x.const_data_ptr<float>(), *grad = g.const_data_ptr<float>();
    float* to = grad_x.mutable_data_ptr<float>();
    for_each_row(x, [&](int64_t in, int64_t out, int64_t d) {
      rows::geglu_backward(d, from + in, from + in + d, grad + out, to + in, to + in + d);
    });
    return {grad_x};
  }
};

// x [...,2d] -> x[..., :d] * gelu(x[..., d:]) (Shazeer 2020, arXiv:2002.05202).
at::Tensor geglu(const at::Tensor& x) {
  if (x.dim() >= 1 && x.numel() > 0 && x.size(-1) % 2 == 0 && in_rows(x)) return Geglu::apply(x);
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
