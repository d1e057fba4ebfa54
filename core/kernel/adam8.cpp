#include "core/kernel/adam8.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "core/base/dry_run.h"
#include "core/kernel/adam8_block.h"
#include "core/kernel/nf4.h"
#include "core/kernel/processor.h"

namespace t2i {
namespace {

using Values = std::array<float, 256>;

std::vector<uint8_t> codes_by_place(const Values& values) {
  constexpr int places = 65'536;
  std::vector<uint8_t> made(places);
  for (int i = 0; i < places; ++i) {
    const float at = static_cast<float>(i) * (2.0f / (places - 1)) - 1.0f;
    auto above = std::min(std::lower_bound(values.begin(), values.end(), at), values.end() - 1);
    auto below = above == values.begin() ? above : above - 1;
    made[static_cast<size_t>(i)] = static_cast<uint8_t>((at - *below <= *above - at ? below : above) - values.begin());
  }
  return made;
}

const Adam8Lookup& lookup() {
  static const std::vector<uint8_t> mean = codes_by_place(dynamic_values()), square = codes_by_place(dynamic_unsigned_values());
  static const Adam8Lookup tables{dynamic_values().data(), dynamic_unsigned_values().data(), mean.data(), square.data()};
  return tables;
}

at::Tensor values_on(at::Device device, bool has_sign) {
  const Values& values = has_sign ? dynamic_values() : dynamic_unsigned_values();
  return at::from_blob(const_cast<float*>(values.data()), {256}, at::kFloat).to(device);
}

// [blocks, 256], zeros behind the end.
at::Tensor in_blocks(const at::Tensor& x) {
  const int64_t blocks = adam8_blocks(x.numel());
  return at::constant_pad_nd(x, {0, blocks * adam8_block - x.numel()}).view({blocks, adam8_block});
}

}  // namespace

// As dynamic_values(), with the sign's bit as one more of the fraction: 2 to 128 steps in each next decade.
const std::array<float, 256>& dynamic_unsigned_values() {
  static const Values values = [] {
    Values v{};
    size_t n = 0;
    for (int decade = 0; decade < 7; ++decade) {
      const int steps = 2 << decade;
      const float step = (1.0f - 0.1f) / static_cast<float>(steps);
      auto border = [&](int i) {  // as torch.linspace has it: from the nearer end, rounded once
        return i < (steps + 1) / 2 ? std::fma(step, static_cast<float>(i), 0.1f) : std::fma(-step, static_cast<float>(steps - i), 1.0f);
      };
      const float size = static_cast<float>(std::pow(10.0, decade - 6));
      for (int i = 0; i < steps; ++i) v[n++] = size * ((border(i) + border(i + 1)) / 2.0f);
    }
    v[n++] = 0.0f;
    v[n++] = 1.0f;
    std::sort(v.begin(), v.end());
    return v;
  }();
  return values;
}

void adam8_update(const Adam8Numbers& numbers, const at::Tensor& weights, const at::Tensor& grads, const CodedMoment& mean, const CodedMoment& square) {
  Adam8Job all{weights.numel(),
               0,
               adam8_blocks(weights.numel()),
               weights.mutable_data_ptr<float>(),
               grads.const_data_ptr<float>(),
               {mean.codes.mutable_data_ptr<uint8_t>(), mean.scales.mutable_data_ptr<float>()},
               {square.codes.mutable_data_ptr<uint8_t>(), square.scales.mutable_data_ptr<float>()}};
  if (in_dry_run()) return;
  const Adam8Lookup& tables = lookup();
  at::parallel_for(0, all.last, 64, [&](int64_t begin, int64_t end) {
    Adam8Job part = all;
    part.first = begin, part.last = end;
    has_wide_floats() ? rows::adam8_update(numbers, tables, part) : update_blocks(numbers, tables, part);
  });
}

at::Tensor unpack_moment(const CodedMoment& moment, bool has_sign) {
  at::Tensor values = values_on(moment.codes.device(), has_sign).index_select(0, moment.codes.to(at::kInt));
  return in_blocks(values).mul_(moment.scales.unsqueeze(1)).view(-1).narrow(0, 0, moment.codes.numel());
}

void pack_moment(const at::Tensor& x, bool has_sign, CodedMoment& moment) {
  at::Tensor values = values_on(x.device(), has_sign), middle = values.narrow(0, 0, 255).add(values.narrow(0, 1, 255)).div_(2);
  at::Tensor blocks = in_blocks(x), largest = blocks.abs().amax(1);
  moment.scales.copy_(largest);
  at::Tensor scaled = blocks.div(largest.masked_fill(largest.eq(0), 1).unsqueeze(1));
  moment.codes.copy_(at::bucketize(scaled, middle, /*out_int32=*/true).view(-1).narrow(0, 0, x.numel()));
}

}  // namespace t2i
