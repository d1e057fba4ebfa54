#include "core/kernel/bf16_weights.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>

#include "core/base/rng.h"
#include "core/kernel/bf16_bits.h"

namespace t2i {
namespace {

constexpr int64_t at_least = 16'384;  // weights that are worth another thread

template <class Bits>
const Bits* bits_of(const at::Tensor& t) { return static_cast<const Bits*>(t.const_data_ptr()); }
template <class Bits>
Bits* bits_in(at::Tensor& t) { return static_cast<Bits*>(t.mutable_data_ptr()); }

void join_halves_cpu(const at::Tensor& upper, const at::Tensor& lower, at::Tensor& exact) {
  const auto* high = bits_of<uint16_t>(upper);
  const auto* low = bits_of<int16_t>(lower);
  auto* to = bits_in<uint32_t>(exact);
  at::parallel_for(0, exact.numel(), at_least, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = joined_bits(high[i], low[i]);
  });
}

void split_halves_cpu(const at::Tensor& exact, at::Tensor& upper, at::Tensor& lower) {
  const auto* from = bits_of<uint32_t>(exact);
  auto* high = bits_in<uint16_t>(upper);
  auto* low = bits_in<int16_t>(lower);
  at::parallel_for(0, exact.numel(), at_least, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) high[i] = upper_half(from[i]), low[i] = lower_half(from[i]);
  });
}

void round_stochastically_cpu(const at::Tensor& exact, at::Tensor& rounded, int64_t seed, int64_t step, int64_t begin, int64_t stream) {
  const RoundingDraws draws{static_cast<uint64_t>(seed), static_cast<uint64_t>(step), begin, static_cast<uint32_t>(stream)};
  const auto* from = bits_of<uint32_t>(exact);
  auto* to = bits_in<uint16_t>(rounded);
  const int64_t n = exact.numel();
  at::parallel_for(0, (n + rounding_block - 1) / rounding_block, at_least / rounding_block, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      const Philox4 words = rounding_words(draws, block);
      const int64_t at = block * rounding_block, here = std::min(rounding_block, n - at);
      for (int64_t k = 0; k < here; ++k) to[at + k] = stochastic_half(from[at + k], words.v[k]);
    }
  });
}

void require(const at::Tensor& exact, const at::Tensor& upper) {
  TORCH_CHECK(exact.scalar_type() == at::kFloat && upper.scalar_type() == at::kBFloat16 && exact.is_contiguous() && upper.is_contiguous() &&
                  exact.numel() == upper.numel() && exact.device() == upper.device(),
              "weights in float32 and in bfloat16 are contiguous and as many: ", exact.sizes(), " and ", upper.sizes());
}

void require(const at::Tensor& exact, const at::Tensor& upper, const at::Tensor& lower) {
  require(exact, upper);
  TORCH_CHECK(lower.scalar_type() == at::kShort && lower.is_contiguous() && lower.numel() == upper.numel() && lower.device() == upper.device(),
              "there is a lower half for each upper one: ", upper.sizes(), " and ", lower.sizes());
}

}  // namespace

at::Tensor join_halves(const at::Tensor& upper, const at::Tensor& lower) {
  static auto op = c10::Dispatcher::singleton()
                       .findSchemaOrThrow("t2i::join_halves", "")
                       .typed<void(const at::Tensor&, const at::Tensor&, at::Tensor&)>();
  at::Tensor exact = at::empty(upper.sizes(), upper.options().dtype(at::kFloat));
  require(exact, upper, lower);
  if (!exact.is_meta()) op.call(upper, lower, exact);
  return exact;
}

void split_halves(const at::Tensor& exact, at::Tensor upper, at::Tensor lower) {
  static auto op = c10::Dispatcher::singleton()
                       .findSchemaOrThrow("t2i::split_halves", "")
                       .typed<void(const at::Tensor&, at::Tensor&, at::Tensor&)>();
  require(exact, upper, lower);
  op.call(exact, upper, lower);
}

void round_stochastically(const at::Tensor& exact, at::Tensor rounded, const RoundingKey& key) {
  static auto op = c10::Dispatcher::singleton()
                       .findSchemaOrThrow("t2i::round_stochastically", "")
                       .typed<void(const at::Tensor&, at::Tensor&, int64_t, int64_t, int64_t, int64_t)>();
  require(exact, rounded);
  TORCH_CHECK(key.begin % rounding_row == 0, "a piece of weights begins where a row of draws does, not at ", key.begin);
  op.call(exact, rounded, key.seed, key.step, key.begin, stream_id("stochastic_rounding"));
}

TORCH_LIBRARY_FRAGMENT(t2i, m) {
  m.def("join_halves(Tensor upper, Tensor lower, Tensor(a!) exact) -> ()");
  m.def("split_halves(Tensor exact, Tensor(a!) upper, Tensor(b!) lower) -> ()");
  m.def("round_stochastically(Tensor exact, Tensor(a!) rounded, int seed, int step, int begin, int stream) -> ()");
}
TORCH_LIBRARY_IMPL(t2i, CPU, m) {
  m.impl("join_halves", join_halves_cpu);
  m.impl("split_halves", split_halves_cpu);
  m.impl("round_stochastically", round_stochastically_cpu);
}

}  // namespace t2i
