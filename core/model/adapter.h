// What is added to a frozen weight. LoRA (Hu et al. 2021, arXiv:2106.09685): W + sum of scale_i * B_i A_i; with a
// magnitude it is DoRA (Liu et al. 2024, arXiv:2402.09353): rows of the sum are brought to that length.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace t2i {

struct LowRank {
  at::Tensor down;       // A: [r, in], of a convolution [r, C/groups, kh, kw]
  at::Tensor up;         // B: [out, r], of a convolution [out, r, 1, 1]
  double scale = 1;      // alpha / rank, or alpha / sqrt(rank) (rsLoRA, arXiv:2312.03732), times the user's weight
  double dropout = 0;    // of the input of A, while training
  at::Tensor magnitude;  // [out], of DoRA; undefined otherwise
};

struct Adapter {
  std::vector<LowRank> low_rank;  // several at once are added up
};

// scale * B A in the shape of the weight, in float32.
at::Tensor change_of(const LowRank& low_rank, at::IntArrayRef weight_shape);

// The lengths of the weight's rows [out], in float32.
at::Tensor row_lengths(const at::Tensor& weight);

// The one weight that does what the layer does with its adapters, in float32. As in peft each adapter is added to what
// those before it made, but DoRA's lengths are taken of the base weight and its own change alone.
at::Tensor merged(const at::Tensor& weight, const Adapter& adapter);

}  // namespace t2i
