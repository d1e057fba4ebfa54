#include "core/train/optimizer/rules.h"

#include <ATen/ATen.h>

namespace t2i {

at::Tensor zeros_like_weights(const RuleSetup& setup) { return at::zeros_like(setup.weights); }

at::Tensor scalar_like_weights(const RuleSetup& setup, double value, at::ScalarType type) {
  return at::full({}, value, setup.weights.options().dtype(type));
}

static at::Tensor is_bad(const StepNumbers& numbers) { return numbers.found_bad.reshape({}).ne(0); }

at::Tensor gradient_of(const Piece& piece, const StepNumbers& numbers) {
  return piece.grads.div(numbers.grad_divisor).masked_fill_(is_bad(numbers), 0);
}

at::Tensor unless_bad(const StepNumbers& numbers, double value, double otherwise) {
  at::Tensor good = at::full({}, value, numbers.found_bad.options().dtype(at::kDouble));
  return unless_bad(numbers, good, otherwise);
}

at::Tensor unless_bad(const StepNumbers& numbers, const at::Tensor& value, double otherwise) {
  return value.masked_fill(is_bad(numbers), otherwise).to(at::kFloat);
}

void count_step(at::Tensor& step, const StepNumbers& numbers) { step.add_(1.0 - numbers.found_bad.reshape({})); }

at::Tensor part_of(const at::Tensor& flat, const Piece& piece) {
  return flat.narrow(0, piece.begin, piece.weights.numel());
}

}  // namespace t2i
