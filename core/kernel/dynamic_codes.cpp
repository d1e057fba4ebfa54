#include "core/kernel/dynamic_codes.h"

#include <algorithm>
#include <cmath>

namespace t2i {
namespace {

// Seven decades with twice as many steps in each next one, evenly between a tenth and the whole of the decade; zero and one.
// With a sign there are half as many on either side of zero.
CodeValues made_values(bool has_sign) {
  CodeValues v{};
  size_t n = 0;
  for (int decade = 0; decade < 7; ++decade) {
    const int steps = (has_sign ? 1 : 2) << decade;
    const float step = (1.0f - 0.1f) / static_cast<float>(steps);
    auto border = [&](int i) {  // as torch.linspace has it: from the nearer end, rounded once
      return i < (steps + 1) / 2 ? std::fma(step, static_cast<float>(i), 0.1f) : std::fma(-step, static_cast<float>(steps - i), 1.0f);
    };
    const float size = static_cast<float>(std::pow(10.0, decade - 6));
    for (int i = 0; i < steps; ++i) {
      const float middle = (border(i) + border(i + 1)) / 2.0f;
      v[n++] = size * middle;
      if (has_sign) v[n++] = -size * middle;
    }
  }
  v[n++] = 0.0f;
  v[n++] = 1.0f;
  std::sort(v.begin(), v.end());
  return v;
}

std::vector<uint8_t> codes_by_place(const CodeValues& values) {
  std::vector<uint8_t> made(code_places);
  for (int32_t i = 0; i < code_places; ++i) {
    const float at = static_cast<float>(i) * (2.0f / (code_places - 1)) - 1.0f;
    auto above = std::min(std::lower_bound(values.begin(), values.end(), at), values.end() - 1);
    auto below = above == values.begin() ? above : above - 1;
    made[static_cast<size_t>(i)] = static_cast<uint8_t>((at - *below <= *above - at ? below : above) - values.begin());
  }
  return made;
}

}  // namespace

const CodeValues& dynamic_values() {
  static const CodeValues values = made_values(/*has_sign=*/true);
  return values;
}

const CodeValues& dynamic_unsigned_values() {
  static const CodeValues values = made_values(/*has_sign=*/false);
  return values;
}

const std::vector<uint8_t>& dynamic_codes() {
  static const std::vector<uint8_t> codes = codes_by_place(dynamic_values());
  return codes;
}

const std::vector<uint8_t>& dynamic_unsigned_codes() {
  static const std::vector<uint8_t> codes = codes_by_place(dynamic_unsigned_values());
  return codes;
}

}  // namespace t2i
