// What diffusion transformers do around their matrices, as ops by name: a norm whose scale and shift come from the time
// (Peebles and Xie 2023, arXiv:2212.09748, §3.2), a gate on what is added, a norm over each head. ATen's form is the oracle;
// in float32 on a CPU each is one pass forward and one backward, and keeps nothing but its inputs.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "core/base/dry_run.h"
#include "core/kernel/modulation_rows.h"
#include "core/kernel/processor.h"

namespace t2i {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool in_rows(const at::Tensor& t) {
  return t.is_cpu() && t.scalar_type() == at::kFloat && has_wide_floats() && !in_dry_run_of_gpu();
}

// The rows of x in blocks of a fixed size, each within one sample: what they add up is summed in the same order whatever
// the number of threads.
struct Blocks {
  int64_t samples, each, width, block, per_sample;
  Blocks(int64_t samples_, int64_t each_, int64_t width_)
      : samples(samples_), each(each_), width(width_), block(std::max<int64_t>(1, 32'768 / width_)), per_sample((each_ + block - 1) / block) {}
  // body(sample, first row of all, rows, number of the block)
  template <class Body>
  void for_each(Body body) const {
    if (in_dry_run()) return;
    at::parallel_for(0, samples * per_sample, 1, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t sample = k / per_sample, first = k % per_sample * block;
        body(sample, sample * each + first, rows::Rows{std::min(block, each - first), width}, k);
      }
    });
  }
  // What the blocks of each sample add up to, [samples,1,width], from [samples*per_sample,width].
  at::Tensor summed(const at::Tensor& shares) const { return shares.view({samples, per_sample, width}).sum(1, /*keepdim=*/true); }
  at::Tensor shares(const at::Tensor& like) const { return at::empty({samples * per_sample, width}, like.options()); }
};

Blocks blocks_of(const at::Tensor& x) { return {x.size(0), x.size(1), x.size(2)}; }

struct AdaLayerNorm : torch::autograd::Function<AdaLayerNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_in, const at::Tensor& scale_in, const at::Tensor& shift_in, double eps) {
    at::Tensor x = x_in.contiguous(), scale = scale_in.contiguous(), shift = shift_in.contiguous(), y = at::empty_like(x);
    at::Tensor moments = at::empty({2, x.size(0) * x.size(1)}, x.options());
    const float *from = x.const_data_ptr<float>(), *by = scale.const_data_ptr<float>(), *plus = shift.const_data_ptr<float>();
    float *to = y.mutable_data_ptr<float>(), *mean = moments.mutable_data_ptr<float>(), *rstd = mean + moments.size(1);
    const int64_t w = x.size(2);
    blocks_of(x).for_each([&](int64_t sample, int64_t row, rows::Rows some, int64_t) {
      rows::ada_layer_norm(some, static_cast<float>(eps), from + row * w, by + sample * w, plus + sample * w, to + row * w, mean + row, rstd + row);
    });
    ctx->save_for_backward({x, scale, moments});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &scale = saved[1], &moments = saved[2];
    const Blocks blocks = blocks_of(x);
    at::Tensor g = grads[0].contiguous(), grad_x = at::empty_like(x), of_scale = blocks.shares(x), of_shift = blocks.shares(x);
    const float *from = x.const_data_ptr<float>(), *by = scale.const_data_ptr<float>(), *mean = moments.const_data_ptr<float>(),
                *rstd = mean + moments.size(1), *grad = g.const_data_ptr<float>();
    float *to = grad_x.mutable_data_ptr<float>(), *scales = of_scale.mutable_data_ptr<float>(), *shifts = of_shift.mutable_data_ptr<float>();
    const int64_t w = blocks.width;
    blocks.for_each([&](int64_t sample, int64_t row, rows::Rows some, int64_t k) {
      rows::ada_layer_norm_backward(some, from + row * w, by + sample * w, mean + row, rstd + row, grad + row * w, to + row * w, scales + k * w,
                                    shifts + k * w);
    });
    return {grad_x, blocks.summed(of_scale), blocks.summed(of_shift), at::Tensor()};
  }
};

// Is each of them in rows, x [B,L,W] with something in it, and the others [B,1,W]?
bool modulates(const at::Tensor& x, std::initializer_list<at::Tensor> others) {
  if (x.dim() != 3 || x.numel() == 0 || !in_rows(x)) return false;
  for (const at::Tensor& t : others)
    if (!in_rows(t) || t.sizes() != at::IntArrayRef({x.size(0), 1, x.size(2)})) return false;
  return true;
}

// layer_norm(x) (1 + scale) + shift: x [B,L,W], scale and shift [B,1,W].
at::Tensor ada_layer_norm(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift, double eps) {
  if (modulates(x, {scale, shift})) return AdaLayerNorm::apply(x, scale, shift, eps);
  return at::layer_norm(x, {x.size(-1)}, {}, {}, eps) * (scale + 1.0) + shift;
}

struct GatedAdd : torch::autograd::Function<GatedAdd> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_in, const at::Tensor& gate_in, const at::Tensor& z_in) {
    at::Tensor x = x_in.contiguous(), gate = gate_in.contiguous(), z = z_in.contiguous(), y = at::empty_like(x);
    const float *from = x.const_data_ptr<float>(), *by = gate.const_data_ptr<float>(), *added = z.const_data_ptr<float>();
    float* to = y.mutable_data_ptr<float>();
    const int64_t w = x.size(2);
    blocks_of(x).for_each([&](int64_t sample, int64_t row, rows::Rows some, int64_t) {
      rows::gated_add(some, from + row * w, by + sample * w, added + row * w, to + row * w);
    });
    ctx->save_for_backward({gate, z});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const at::Tensor &gate = saved[0], &z = saved[1];
    const Blocks blocks = blocks_of(z);
    at::Tensor g = grads[0].contiguous(), grad_z = at::empty_like(z), of_gate = blocks.shares(z);
    const float *by = gate.const_data_ptr<float>(), *added = z.const_data_ptr<float>(), *grad = g.const_data_ptr<float>();
    float *to = grad_z.mutable_data_ptr<float>(), *gates = of_gate.mutable_data_ptr<float>();
    const int64_t w = blocks.width;
    blocks.for_each([&](int64_t sample, int64_t row, rows::Rows some, int64_t k) {
      rows::gated_add_backward(some, by + sample * w, added + row * w, grad + row * w, to + row * w, gates + k * w);
    });
    return {grads[0], blocks.summed(of_gate), grad_z};
  }
};

// x + gate z: x and z [B,L,W], gate [B,1,W].
at::Tensor gated_add(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& z) {
  if (modulates(x, {gate}) && in_rows(z) && z.sizes() == x.sizes()) return GatedAdd::apply(x, gate, z);
  return x + gate * z;
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_in, const at::Tensor& weight_in, double eps) {
    at::Tensor x = x_in.contiguous(), weight = weight_in.contiguous(), y = at::empty_like(x);
    const int64_t w = x.size(-1), count = x.numel() / w;
    at::Tensor roots = at::empty({count}, x.options());
    const float *from = x.const_data_ptr<float>(), *by = weight.const_data_ptr<float>();
    float *to = y.mutable_data_ptr<float>(), *rstd = roots.mutable_data_ptr<float>();
    Blocks(1, count, w).for_each([&](int64_t, int64_t row, rows::Rows some, int64_t) {
      rows::rms_norm(some, static_cast<float>(eps), from + row * w, by, to + row * w, rstd + row);
    });
    ctx->save_for_backward({x, weight, roots});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const int64_t w = x.size(-1);
    const Blocks blocks(1, x.numel() / w, w);
    at::Tensor g = grads[0].contiguous(), grad_x = at::empty_like(x), of_weight = blocks.shares(x);
    const float *from = x.const_data_ptr<float>(), *by = weight.const_data_ptr<float>(), *rstd = saved[2].const_data_ptr<float>(),
                *grad = g.const_data_ptr<float>();
    float *to = grad_x.mutable_data_ptr<float>(), *weights = of_weight.mutable_data_ptr<float>();
    blocks.for_each([&](int64_t, int64_t row, rows::Rows some, int64_t k) {
      rows::rms_norm_backward(some, from + row * w, by, rstd + row, grad + row * w, to + row * w, weights + k * w);
    });
    return {grad_x, blocks.summed(of_weight).view({w}), at::Tensor()};
  }
};

// x / sqrt(mean(x^2) + eps) weight, over the last dimension (Zhang and Sennrich 2019, arXiv:1910.07467), in the type of x:
// torch's own kernel wants the weight in that type, too.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (x.dim() > 0 && x.numel() > 0 && in_rows(x) && in_rows(weight) && weight.sizes() == at::IntArrayRef({x.size(-1)}))
    return RmsNorm::apply(x, weight, eps);
  return at::rms_norm(x, {x.size(-1)}, weight.to(x.scalar_type()), eps);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(t2i, m) {
  m.def("ada_layer_norm(Tensor x, Tensor scale, Tensor shift, float eps) -> Tensor");
  m.def("gated_add(Tensor x, Tensor gate, Tensor z) -> Tensor");
  m.def("rms_norm(Tensor x, Tensor weight, float eps) -> Tensor");
}
TORCH_LIBRARY_IMPL(t2i, CompositeImplicitAutograd, m) {
  m.impl("ada_layer_norm", ada_layer_norm);
  m.impl("gated_add", gated_add);
  m.impl("rms_norm", rms_norm);
}

}  // namespace t2i
