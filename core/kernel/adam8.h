// AdamW with moments in eight bits (Dettmers et al. 2022, arXiv:2110.02861), as bitsandbytes' AdamW8bit defines it. A moment
// is a code per weight and a scale per block of 256: what the code stands for, times the block's largest magnitude. The
// codes' values have a dynamic exponent (Dettmers 2015, arXiv:1511.04561); those of the second moment have no sign.
#pragma once
#include <ATen/core/Tensor.h>

#include <array>

#include "core/kernel/adam8_rows.h"

namespace t2i {

constexpr int64_t adam8_blocks(int64_t elements) { return (elements + adam8_block - 1) / adam8_block; }

// Ascending, from 0 to 1. The signed ones are dynamic_values() of nf4.h.
const std::array<float, 256>& dynamic_unsigned_values();

// A moment of one parameter: codes [n] uint8, scales [blocks] float32.
struct CodedMoment {
  at::Tensor codes, scales;
};

// One parameter in float32 on the CPU, flat.
void adam8_update(const Adam8Numbers& numbers, const at::Tensor& weights, const at::Tensor& grads, const CodedMoment& mean, const CodedMoment& square);

// What moments stand for, and back, with ATen's operations on any device. Where the nearest value is looked up in a table
// of places on the CPU, here it is searched for, as bitsandbytes does on a GPU: at a border between two the codes may differ.
at::Tensor unpack_moment(const CodedMoment& moment, bool has_sign);
void pack_moment(const at::Tensor& x, bool has_sign, CodedMoment& moment);

}  // namespace t2i
