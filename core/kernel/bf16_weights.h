// Weights that the model holds in bfloat16 and an optimizer changes in float32. A bfloat16 is the upper half of a
// float32, so rounding after each update would lose every change below 1/256 of a weight: most of them.
//
// Split: the lower half is kept beside the upper one. Together they are the float32 weight, bit for bit, in the four
// bytes that it takes anyway. The upper half is the float32 rounded to the nearest bfloat16, and the lower one what is
// missing to it, with a sign.
// Stochastic rounding keeps nothing: a weight is rounded up as often as it is near to the upper of its neighbours, so that
// small changes happen on the average (Gupta et al. 2015, arXiv:1502.02551).
//
// The ops t2i::join_halves, t2i::split_halves and t2i::round_stochastically, on the CPU and on GPUs with the same bits. All
// tensors are flat and contiguous; nothing waits for the device.
#pragma once
#include <ATen/core/Tensor.h>

namespace t2i {

// `upper` bfloat16, `lower` int16 -> float32.
at::Tensor join_halves(const at::Tensor& upper, const at::Tensor& lower);
void split_halves(const at::Tensor& exact, at::Tensor upper, at::Tensor lower);

// A draw depends on these and the element's place alone: not on the device, nor on how the weights are cut into pieces.
struct RoundingKey {
  int64_t seed, step;
  int64_t begin;  // place of the first element in the flat buffer, a multiple of 16
};
void round_stochastically(const at::Tensor& exact, at::Tensor rounded, const RoundingKey& key);

}  // namespace t2i
