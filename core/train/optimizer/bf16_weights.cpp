#include "core/train/optimizer/bf16_weights.h"

#include <ATen/ATen.h>

#include "core/kernel/draw.h"

namespace t2i {

at::Tensor join_halves(const at::Tensor& upper, const at::Tensor& lower) {
  return upper.view(at::kShort).to(at::kInt).bitwise_left_shift_(16).add_(lower).view(at::kFloat);
}

void split_halves(const at::Tensor& exact, at::Tensor upper, at::Tensor lower) {
  at::Tensor bits = exact.view(at::kInt);
  at::Tensor half = bits.add(0x8000).bitwise_right_shift_(16);  // with its sign
  upper.view(at::kShort).copy_(half);
  lower.copy_(bits.sub(half.bitwise_left_shift_(16)));
}

void round_stochastically(const at::Tensor& exact, at::Tensor rounded, const RoundingKey& key) {
  constexpr int64_t row = 16;  // elements that share a key: flat buffers place parameters at multiples of it
  const int64_t n = exact.numel(), rows = (n + row - 1) / row;
  auto options = exact.options().dtype(at::kLong);
  at::Tensor rng = at::empty({rows, 3}, options);
  rng.select(1, 0).fill_(key.seed), rng.select(1, 1).fill_(key.step);
  rng.select(1, 2).copy_(at::arange(key.begin / row, key.begin / row + rows, options));
  // A whole number below 2^16, added to the bits: it carries into the upper half as often as the lower half is large.
  at::Tensor draw = draw_uniform(rng, "stochastic_rounding", {row}).view(-1).narrow(0, 0, n).mul_(65536).to(at::kInt);
  rounded.view(at::kShort).copy_(draw.add_(exact.view(at::kInt)).bitwise_right_shift_(16));
}

}  // namespace t2i
