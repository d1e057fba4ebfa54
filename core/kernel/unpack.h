// Packed weights as numbers again, into memory that the caller has: the ops t2i::unpack_nf4 and t2i::unpack_int8. `out`
// is contiguous, float32, bfloat16 or float16, as many numbers as there are weights, on the codes' device. Nothing waits
// for the device.
#pragma once
#include <ATen/core/Tensor.h>

namespace t2i {

// `codes` uint8, two to a byte. `scales`: float32, one a block of 64; or their uint8 codes, and then `block_scales`
// float32, one a block of 256 of these, and `mean` (nf4.h).
void unpack_nf4(const at::Tensor& codes, const at::Tensor& scales, const at::Tensor& block_scales, double mean, at::Tensor& out);

// `codes` int8 [rows, n], `scales` float32 [rows]: the largest magnitude of each row, whose code is 127 (LLM.int8(),
// Dettmers et al. 2022, arXiv:2208.07339).
void unpack_int8(const at::Tensor& codes, const at::Tensor& scales, at::Tensor& out);

// What a code of 1 stands for where the scale is 1, as bitsandbytes writes 1 / 127.
constexpr float int8_unit = 7.874015718698502e-3f;

}  // namespace t2i
