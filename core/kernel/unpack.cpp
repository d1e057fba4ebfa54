#include "core/kernel/unpack.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <array>

#include "core/base/dry_run.h"
#include "core/kernel/nf4.h"
#include "core/kernel/packed_rows.h"
#include "core/kernel/processor.h"

namespace t2i {
namespace {

constexpr int64_t piece = 32 * nf4_block;  // floats on the way to another type: they stay in the first cache

void require(const at::Tensor& codes, at::ScalarType type, const at::Tensor& scales, int64_t count, const at::Tensor& out) {
  TORCH_CHECK(codes.scalar_type() == type && codes.is_contiguous() && scales.is_contiguous() && out.is_contiguous(),
              "packed weights are contiguous, of ", type, ", got ", codes.scalar_type());
  TORCH_CHECK(out.numel() == count, out.numel(), " weights do not fit ", codes.numel(), " codes");
  const at::ScalarType to = out.scalar_type();
  TORCH_CHECK(to == at::kFloat || to == at::kBFloat16 || to == at::kHalf, "weights are not unpacked to ", to);
}

// Hands `floats` on as `out` has them.
void put(std::span<const float> floats, const at::Tensor& out, int64_t begin) {
  const int64_t count = static_cast<int64_t>(floats.size());
  if (out.scalar_type() == at::kHalf) {
    at::Half* to = out.mutable_data_ptr<at::Half>() + begin;
    for (size_t i = 0; i < floats.size(); ++i) to[i] = static_cast<at::Half>(floats[i]);
  } else if (auto* to = out.mutable_data_ptr<at::BFloat16>() + begin; has_wide_floats()) {
    rows::to_bfloat16(count, floats.data(), reinterpret_cast<uint16_t*>(to));
  } else {
    for (size_t i = 0; i < floats.size(); ++i) to[i] = static_cast<at::BFloat16>(floats[i]);
  }
}

// Calls fill(begin, floats) for the numbers from `begin` on, and hands them to `out`.
template <class Fill>
void in_pieces(int64_t begin, int64_t end, const at::Tensor& out, Fill fill) {
  if (out.scalar_type() == at::kFloat)
    return fill(begin, std::span(out.mutable_data_ptr<float>() + begin, static_cast<size_t>(end - begin)));
  std::array<float, piece> floats;
  for (; begin < end; begin += piece) {
    std::span<float> now(floats.data(), static_cast<size_t>(std::min(piece, end - begin)));
    fill(begin, now);
    put(now, out, begin);
  }
}

void unpack_nf4_cpu(const at::Tensor& codes, const at::Tensor& scales, const at::Tensor& block_scales, double mean, at::Tensor& out) {
  const int64_t count = out.numel(), blocks = nf4_blocks(count);
  require(codes, at::kByte, scales, codes.numel() == nf4_bytes(count) ? count : -1, out);
  const bool twice = scales.scalar_type() == at::kByte;
  TORCH_CHECK(scales.numel() == blocks && (!twice || block_scales.numel() == (blocks + nf4_scales_block - 1) / nf4_scales_block),
              "there are ", scales.numel(), " scales for ", blocks, " blocks");
  if (in_dry_run()) return;
  const std::span<const uint8_t> bytes(codes.const_data_ptr<uint8_t>(), static_cast<size_t>(codes.numel()));
  // A task is a block of scales: so each of its own is known.
  at::parallel_for(0, (blocks + nf4_scales_block - 1) / nf4_scales_block, 1, [&](int64_t first, int64_t last) {
    std::array<float, nf4_scales_block> unpacked;
    for (int64_t task = first; task < last; ++task) {
      const int64_t first_block = task * nf4_scales_block, begin = first_block * nf4_block;
      const size_t here = static_cast<size_t>(std::min(nf4_scales_block, blocks - first_block));
      std::span<const float> own(unpacked.data(), here);
      if (twice)
        unpack_scales({scales.const_data_ptr<uint8_t>() + first_block, here}, {block_scales.const_data_ptr<float>() + task, 1},
                      static_cast<float>(mean), {unpacked.data(), here});
      else own = {scales.const_data_ptr<float>() + first_block, here};
      in_pieces(begin, std::min(count, begin + nf4_scales_block * nf4_block), out, [&](int64_t at, std::span<float> to) {
        dequantize_nf4(bytes.subspan(static_cast<size_t>(at / 2)), own.subspan(static_cast<size_t>((at - begin) / nf4_block)), to);
      });
    }
  });
}

void dequantize_int8(std::span<const int8_t> codes, float scale, std::span<float> out) {
  const int64_t count = static_cast<int64_t>(out.size());
  if (has_wide_floats()) return rows::dequantize_int8(count, codes.data(), scale, int8_unit, out.data());
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(codes[i]) * scale * int8_unit;
}

void unpack_int8_cpu(const at::Tensor& codes, const at::Tensor& scales, at::Tensor& out) {
  require(codes, at::kChar, scales, codes.numel(), out);
  const int64_t rows = scales.numel(), each = rows ? codes.numel() / rows : 0;
  TORCH_CHECK(rows * each == codes.numel() && scales.scalar_type() == at::kFloat, "there are ", rows, " scales for ", codes.numel(), " codes");
  if (in_dry_run()) return;
  at::parallel_for(0, rows, std::max<int64_t>(1, piece / std::max<int64_t>(1, each)), [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row)
      in_pieces(row * each, (row + 1) * each, out, [&](int64_t at, std::span<float> to) {
        dequantize_int8({codes.const_data_ptr<int8_t>() + at, to.size()}, scales.const_data_ptr<float>()[row], to);
      });
  });
}

}  // namespace

void unpack_nf4(const at::Tensor& codes, const at::Tensor& scales, const at::Tensor& block_scales, double mean, at::Tensor& out) {
  static auto op = c10::Dispatcher::singleton()
                       .findSchemaOrThrow("t2i::unpack_nf4", "")
                       .typed<void(const at::Tensor&, const at::Tensor&, const at::Tensor&, double, at::Tensor&)>();
  op.call(codes, scales, block_scales, mean, out);
}

void unpack_int8(const at::Tensor& codes, const at::Tensor& scales, at::Tensor& out) {
  static auto op = c10::Dispatcher::singleton()
                       .findSchemaOrThrow("t2i::unpack_int8", "")
                       .typed<void(const at::Tensor&, const at::Tensor&, at::Tensor&)>();
  op.call(codes, scales, out);
}

TORCH_LIBRARY_FRAGMENT(t2i, m) {
  m.def("unpack_nf4(Tensor codes, Tensor scales, Tensor block_scales, float mean, Tensor(a!) out) -> ()");
  m.def("unpack_int8(Tensor codes, Tensor scales, Tensor(a!) out) -> ()");
}
TORCH_LIBRARY_IMPL(t2i, CPU, m) {
  m.impl("unpack_nf4", unpack_nf4_cpu);
  m.impl("unpack_int8", unpack_int8_cpu);
}

}  // namespace t2i
