// Weights in four bits: NF4 (Dettmers et al. 2023, arXiv:2305.14314, §3), as bitsandbytes defines it, bit for bit. Blocks of
// 64 weights are divided by their largest magnitude and each becomes the nearest of 16 values, two to a byte, the first in
// the upper half. The blocks' magnitudes may be packed in turn ("double quantisation"): their mean is taken away, and
// blocks of 256 of them become 8-bit codes.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/kernel/dynamic_codes.h"

namespace t2i {

constexpr int64_t nf4_block = 64, nf4_scales_block = 256;

// The 16 values, ascending: quantiles of the normal distribution, zero among them (appendix E of the paper).
extern const std::array<float, 16> nf4_values;

constexpr int64_t nf4_bytes(int64_t count) { return (count + 1) / 2; }
constexpr int64_t nf4_blocks(int64_t count) { return (count + nf4_block - 1) / nf4_block; }

// `packed` has nf4_bytes(x), `scales` nf4_blocks(x). Several threads may each do a part that begins at a block.
void quantize_nf4(std::span<const float> x, std::span<uint8_t> packed, std::span<float> scales);
// The other way, `out.size()` weights from a block's beginning on.
void dequantize_nf4(std::span<const uint8_t> packed, std::span<const float> scales, std::span<float> out);

// Scales packed once more. scale[i] = dynamic_values()[codes[i]] * block_scales[i / 256] + mean.
struct PackedScales {
  std::vector<uint8_t> codes;
  std::vector<float> block_scales;
  float mean = 0;
};
// `mean` is the scales' mean as the caller sums it: which order of sums it is decides its last bits.
PackedScales pack_scales(std::span<const float> scales, float mean);
void unpack_scales(std::span<const uint8_t> codes, std::span<const float> block_scales, float mean, std::span<float> out);

}  // namespace t2i
