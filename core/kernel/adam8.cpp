#include "core/kernel/adam8.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include "core/base/dry_run.h"
#include "core/kernel/adam8_block.h"
#include "core/kernel/dynamic_codes.h"
#include "core/kernel/processor.h"

namespace t2i {
namespace {

const Adam8Lookup& lookup() {
  static const Adam8Lookup tables{dynamic_values().data(), dynamic_unsigned_values().data(), dynamic_codes().data(), dynamic_unsigned_codes().data()};
  return tables;
}

// What is on the host may be looked at.
void adam8_update_cpu(at::Tensor& weights, const at::Tensor& grads, at::Tensor& mean_codes, at::Tensor& mean_scales, at::Tensor& square_codes,
                      at::Tensor& square_scales, const at::Tensor& step, const at::Tensor& grad_divisor, const at::Tensor& found_bad,
                      double learning_rate, double beta1, double beta2, double adam_epsilon, double weight_decay) {
  if (in_dry_run() || *found_bad.const_data_ptr<float>() != 0) return;
  const Adam8Numbers numbers = adam8_numbers({learning_rate, beta1, beta2, adam_epsilon, weight_decay}, *step.const_data_ptr<float>(),
                                             *grad_divisor.const_data_ptr<float>());
  const Adam8Job all{weights.numel(),
                     0,
                     adam8_blocks(weights.numel()),
                     weights.mutable_data_ptr<float>(),
                     grads.const_data_ptr<float>(),
                     {mean_codes.mutable_data_ptr<uint8_t>(), mean_scales.mutable_data_ptr<float>()},
                     {square_codes.mutable_data_ptr<uint8_t>(), square_scales.mutable_data_ptr<float>()}};
  const Adam8Lookup& tables = lookup();
  at::parallel_for(0, all.last, 64, [&](int64_t begin, int64_t end) {
    Adam8Job part = all;
    part.first = begin, part.last = end;
    has_wide_floats() ? rows::adam8_update(numbers, tables, part) : update_blocks(numbers, tables, part);
  });
}

void require(const at::Tensor& weights, const at::Tensor& grads, const CodedMoment& moment) {
  const int64_t n = weights.numel();
  TORCH_CHECK(weights.is_contiguous() && grads.is_contiguous() && grads.numel() == n && moment.codes.numel() == n && moment.scales.numel() == adam8_blocks(n),
              "a moment of ", n, " weights has as many codes and ", adam8_blocks(n), " scales, got ", moment.codes.numel(), " and ", moment.scales.numel());
  TORCH_CHECK(moment.codes.is_contiguous() && moment.scales.is_contiguous() && moment.codes.device() == weights.device() && grads.device() == weights.device(),
              "weights, gradients and moments lie flat on one device");
}

}  // namespace

void adam8_update(const Adam8Options& o, const Adam8Scalars& s, at::Tensor weights, const at::Tensor& grads, CodedMoment mean, CodedMoment square) {
  using Number = const at::Tensor&;
  static auto op = c10::Dispatcher::singleton()
                       .findSchemaOrThrow("t2i::adam8_update", "")
                       .typed<void(at::Tensor&, Number, at::Tensor&, at::Tensor&, at::Tensor&, at::Tensor&, Number, Number, Number, double, double, double,
                                   double, double)>();
  require(weights, grads, mean), require(weights, grads, square);
  op.call(weights, grads, mean.codes, mean.scales, square.codes, square.scales, s.step, s.grad_divisor, s.found_bad, o.learning_rate, o.beta1, o.beta2,
          o.adam_epsilon, o.weight_decay);
}

TORCH_LIBRARY_FRAGMENT(t2i, m) {
  m.def(
      "adam8_update(Tensor(a!) weights, Tensor grads, Tensor(b!) mean_codes, Tensor(c!) mean_scales, Tensor(d!) square_codes, "
      "Tensor(e!) square_scales, Tensor step, Tensor grad_divisor, Tensor found_bad, float learning_rate, float beta1, float beta2, "
      "float adam_epsilon, float weight_decay) -> ()");
}
TORCH_LIBRARY_IMPL(t2i, CPU, m) { m.impl("adam8_update", adam8_update_cpu); }

}  // namespace t2i
