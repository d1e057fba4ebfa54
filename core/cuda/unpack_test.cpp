// The kernels' thread, run on the host, gives the bits of core/kernel/unpack.h.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>

#include "core/cuda/unpack_thread.h"
#include "core/kernel/nf4.h"
#include "core/kernel/unpack.h"

namespace t2i {
namespace {

at::Tensor bytes(int64_t count) { return at::randint(0, 256, {count}, at::kByte); }

// The threads' floats, backwards, since threads are in no order; what lies behind the last must not change.
template <class Run>
at::Tensor by_threads(int64_t count, Run run) {
  at::Tensor out = at::full({count + 1}, -7.0f);
  float* to = out.mutable_data_ptr<float>();
  for (int64_t thread = unpack_threads(count); thread-- > 0;) run(thread, [&](int64_t i, float x) { to[i] = x; });
  EXPECT_EQ(out[count].item<float>(), -7.0f) << "a thread wrote behind the last weight";
  return out.narrow(0, 0, count);
}

void expect_same(const at::Tensor& a, const at::Tensor& b) {
  ASSERT_EQ(a.nbytes(), b.nbytes());
  EXPECT_EQ(std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()), 0);
}

// bfloat16 as the kernel writes it.
void expect_bfloat16(const at::Tensor& floats, const at::Tensor& wanted) {
  at::Tensor made = at::empty_like(floats, at::kBFloat16);
  for (int64_t i = 0; i < floats.numel(); ++i)
    made.mutable_data_ptr<at::BFloat16>()[i].x = bfloat16_bits(std::bit_cast<uint32_t>(floats.const_data_ptr<float>()[i]));
  expect_same(made, wanted);
}

}  // namespace

TEST(UnpackKernel, Nf4) {
  at::manual_seed(1);
  for (int64_t count : {1, 7, 8, 63, 64, 65, 64 * 256 + 64 * 3 + 5}) {
    const int64_t blocks = nf4_blocks(count);
    for (bool twice : {false, true}) {
      at::Tensor codes = bytes(nf4_bytes(count)), scales = twice ? bytes(blocks) : at::rand({blocks}),
                 block_scales = at::rand({(blocks + 255) / 256}), out = at::empty({count}), half = at::empty({count}, at::kBFloat16);
      unpack_nf4(codes, scales, block_scales, 0.25, out);
      Nf4Job job{codes.const_data_ptr<uint8_t>(), twice ? scales.const_data_ptr<uint8_t>() : nullptr,
                 (twice ? block_scales : scales).const_data_ptr<float>(), twice, 0.25f, nf4_values.data(), dynamic_values().data(), count};
      at::Tensor made = by_threads(count, [&](int64_t thread, auto store) { unpack_nf4_thread(job, thread, store); });
      expect_same(made, out);
      unpack_nf4(codes, scales, block_scales, 0.25, half);
      expect_bfloat16(made, half);
      expect_same(half, out.to(at::kBFloat16));
    }
  }
}

TEST(UnpackKernel, Int8) {
  at::manual_seed(2);
  for (int64_t each : {1, 5, 8, 4099}) {
    at::Tensor codes = at::randint(-127, 128, {3, each}, at::kChar), scales = at::rand({3}), out = at::empty({3, each});
    unpack_int8(codes, scales, out);
    Int8Job job{codes.const_data_ptr<int8_t>(), scales.const_data_ptr<float>(), codes.numel(), each, int8_unit};
    at::Tensor made = by_threads(codes.numel(), [&](int64_t thread, auto store) { unpack_int8_thread(job, thread, store); });
    expect_same(made, out);
    for (at::ScalarType type : {at::kBFloat16, at::kHalf}) {
      at::Tensor lower = at::empty({3, each}, type);
      unpack_int8(codes, scales, lower);
      expect_same(lower, out.to(type));
    }
  }
}

}  // namespace t2i
