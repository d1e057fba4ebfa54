// AdamW with eight-bit moments (adam8.h) over plain numbers. The same loop twice: rows:: is compiled for processors with
// AVX2, ask has_wide_floats() first. Both, and a GPU's kernel, give the same bits: none is allowed to contract a product and a
// sum into one operation.
#pragma once
#include <cstdint>

namespace t2i {

constexpr int64_t adam8_block = 256;
constexpr int64_t adam8_blocks(int64_t elements) { return (elements + adam8_block - 1) / adam8_block; }

// All of an update that blocks of weights share.
struct Adam8Numbers {
  float grad_divisor;
  float beta1, one_minus_beta1, beta2, one_minus_beta2;
  float step_size;    // learning rate / (1 - beta1^t)
  float denominator;  // sqrt(1 - beta2^t)
  float added;        // to the denominator
  float kept;         // of the weights: 1 - learning rate * weight decay
};

// Values of codes, and the code for each of 65,536 places between -1 and 1 (dynamic_codes.h).
struct Adam8Lookup {
  const float *mean_values, *square_values;
  const uint8_t *mean_codes, *square_codes;
};

struct Adam8Moment {
  uint8_t* codes;
  float* scales;  // one per block
};

// Blocks `first` to `last` of a parameter with `n` weights; the pointers are to the parameter's beginning.
struct Adam8Job {
  int64_t n, first, last;
  float* weights;
  const float* grads;
  Adam8Moment mean, square;
};

namespace rows {
void adam8_update(const Adam8Numbers& numbers, const Adam8Lookup& lookup, const Adam8Job& job);
}

}  // namespace t2i
