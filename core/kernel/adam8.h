// AdamW with moments in eight bits (Dettmers et al. 2022, arXiv:2110.02861), as bitsandbytes' AdamW8bit defines it. A moment
// is a code per weight and a scale per block of 256: what the code stands for (dynamic_codes.h), times the block's largest
// magnitude. The op t2i::adam8_update, on the CPU and on GPUs with the same bits.
#pragma once
#include <ATen/core/Tensor.h>

#include "core/kernel/adam8_numbers.h"

namespace t2i {

// A moment of one parameter: codes [n] uint8, which have a sign in the first moment and none in the second; scales [blocks]
// float32.
struct CodedMoment {
  at::Tensor codes, scales;
};

// Scalars in float32 on the weights' device, where nobody waits for them: the update's number from 1 on, what gradients are
// divided by, and whether this update is left out.
struct Adam8Scalars {
  at::Tensor step, grad_divisor, found_bad;
};

// One parameter in float32, flat: weights [n], grads [n].
void adam8_update(const Adam8Options& options, const Adam8Scalars& scalars, at::Tensor weights, const at::Tensor& grads, CodedMoment mean,
                  CodedMoment square);

}  // namespace t2i
