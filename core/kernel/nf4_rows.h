// The loop of nf4.cpp over plain numbers. On x86-64 it is compiled for processors with AVX2: ask has_wide_floats() first.
#pragma once
#include <cstdint>

namespace t2i::rows {

// `blocks` of 64 weights: 32 bytes and a scale each.
void dequantize_nf4(int64_t blocks, const uint8_t* packed, const float* scales, const float* values, float* out);

}  // namespace t2i::rows
