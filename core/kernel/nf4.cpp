#include "core/kernel/nf4.h"

#include <algorithm>
#include <cmath>

#include "core/kernel/packed_rows.h"
#include "core/kernel/processor.h"

namespace t2i {

const std::array<float, 16> nf4_values = {
    -1.0f,           -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
    -0.09105003625154495f, 0.0f,           0.07958029955625534f, 0.16093020141124725f,  0.24611230194568634f,  0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};

namespace {

// Between neighbours: what is greater belongs to the next value.
const std::array<float, 15>& midpoints() {
  static const std::array<float, 15> middle = [] {
    std::array<float, 15> m{};
    for (size_t i = 0; i < m.size(); ++i) m[i] = (nf4_values[i] + nf4_values[i + 1]) / 2;
    return m;
  }();
  return middle;
}

}  // namespace

// The last block of a tensor, not whole: it is divided, where a whole one is multiplied by the reciprocal. Other last bits,
// other codes.
static void quantize_rest(std::span<const float> x, uint8_t* packed, float& scale) {
  const auto& middle = midpoints();
  float largest = 1e-38f;
  for (float one : x) largest = std::max(largest, std::abs(one));
  scale = largest;
  auto code = [&](size_t k) -> uint32_t {
    if (k >= x.size()) return 7;  // of zero
    const float scaled = std::clamp(x[k] / largest, -1.0f, 1.0f);
    return static_cast<uint32_t>(std::lower_bound(middle.begin(), middle.end(), scaled) - middle.begin());
  };
  for (size_t i = 0; i < x.size(); i += 2) packed[i / 2] = static_cast<uint8_t>(code(i) << 4 | code(i + 1));
}

static void quantize_block(const float* x, uint8_t* packed, float& scale) {
  const auto& middle = midpoints();
  float largest = 0;
  for (int64_t i = 0; i < nf4_block; ++i) largest = std::max(largest, std::abs(x[i]));
  scale = largest;
  const float factor = 1.0f / std::max(largest, 1e-38f);
  auto code = [&](float one) {
    return static_cast<uint32_t>(std::lower_bound(middle.begin(), middle.end(), one * factor) - middle.begin());
  };
  for (int64_t i = 0; i < nf4_block; i += 2) packed[i / 2] = static_cast<uint8_t>(code(x[i]) << 4 | code(x[i + 1]));
}

void quantize_nf4(std::span<const float> x, std::span<uint8_t> packed, std::span<float> scales) {
  const int64_t count = static_cast<int64_t>(x.size()), whole = count / nf4_block;
  if (has_wide_floats()) rows::quantize_nf4(whole, x.data(), midpoints().data(), packed.data(), scales.data());
  else
    for (int64_t i = 0; i < whole; ++i) quantize_block(x.data() + i * nf4_block, packed.data() + i * nf4_block / 2, scales[static_cast<size_t>(i)]);
  if (const int64_t done = whole * nf4_block; done < count)
    quantize_rest(x.subspan(static_cast<size_t>(done)), packed.data() + done / 2, scales[static_cast<size_t>(whole)]);
}

void dequantize_nf4(std::span<const uint8_t> packed, std::span<const float> scales, std::span<float> out) {
  const int64_t count = static_cast<int64_t>(out.size()), whole = has_wide_floats() ? count / nf4_block : 0;
  auto blocks = has_widest_floats() ? rows_512::dequantize_nf4 : rows::dequantize_nf4;
  if (whole) blocks(whole, packed.data(), scales.data(), nf4_values.data(), out.data());
  for (int64_t i = whole * nf4_block; i < count; ++i) {
    const uint8_t both = packed[static_cast<size_t>(i / 2)];
    out[static_cast<size_t>(i)] = nf4_values[i % 2 ? both & 15 : both >> 4] * scales[static_cast<size_t>(i / nf4_block)];
  }
}

PackedScales pack_scales(std::span<const float> scales, float mean) {
  PackedScales made;
  made.mean = mean;
  made.codes.resize(scales.size());
  for (size_t begin = 0; begin < scales.size(); begin += nf4_scales_block) {
    const size_t end = std::min(begin + static_cast<size_t>(nf4_scales_block), scales.size());
    float largest = 0;
    for (size_t i = begin; i < end; ++i) largest = std::max(largest, std::abs(scales[i] - mean));
    made.block_scales.push_back(largest);
    for (size_t i = begin; i < end; ++i) {
      const float scaled = largest > 0 ? (scales[i] - mean) / largest : 0.0f;
      const float place = std::floor((scaled + 1.0f) * 32'767.5f + 0.5f);
      made.codes[i] = dynamic_codes()[static_cast<size_t>(std::clamp(place, 0.0f, 65'535.0f))];
    }
  }
  return made;
}

void unpack_scales(std::span<const uint8_t> codes, std::span<const float> block_scales, float mean, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = dynamic_values()[codes[i]] * block_scales[i / nf4_scales_block] + mean;
}

}  // namespace t2i
