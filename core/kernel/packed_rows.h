// The loops over packed weights, as plain numbers. On x86-64 those of `rows` are compiled for processors with AVX2: ask
// has_wide_floats() first; that of `rows_512` for AVX-512: ask has_widest_floats().
#pragma once
#include <cstdint>

namespace t2i::rows {

// `blocks` of 64 weights: 32 bytes and a scale each. `values` are the 16 of NF4.
void dequantize_nf4(int64_t blocks, const uint8_t* packed, const float* scales, const float* values, float* out);

// The other way. `middle` are the 15 borders between the values, ascending.
void quantize_nf4(int64_t blocks, const float* x, const float* middle, uint8_t* packed, float* scales);

// out[i] = codes[i] * scale * unit, rounded after each product.
void dequantize_int8(int64_t count, const int8_t* codes, float scale, float unit, float* out);

// The nearest bfloat16, ties to even. Numbers, not NaN.
void to_bfloat16(int64_t count, const float* x, uint16_t* out);

}  // namespace t2i::rows

namespace t2i::rows_512 {

void dequantize_nf4(int64_t blocks, const uint8_t* packed, const float* scales, const float* values, float* out);

}  // namespace t2i::rows_512
