#include "core/model/packed.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "core/base/dry_run.h"
#include "core/kernel/nf4.h"
#include "core/kernel/unpack.h"

namespace t2i {
namespace {

constexpr int64_t at_once = nf4_block * nf4_scales_block;  // weights that are widened to floats at a time

// A mean's last bits depend on how many threads summed.
class OneThread {
  int before_ = at::get_num_threads();

 public:
  OneThread() {
    if (before_ != 1) at::set_num_threads(1);
  }
  ~OneThread() {
    if (before_ != 1) at::set_num_threads(before_);
  }
};

PackedWeight pack_nf4(const at::Tensor& weight) {
  const at::Tensor flat = weight.contiguous().view({-1});
  const int64_t count = flat.numel(), blocks = nf4_blocks(count);
  PackedWeight packed{PackedWeight::Form::nf4, weight.sizes().vec(), at::empty({nf4_bytes(count)}, at::kByte), {}, {}, 0};
  at::Tensor scales = at::empty({blocks}, at::kFloat);
  uint8_t* codes = packed.codes.mutable_data_ptr<uint8_t>();
  float* scale = scales.mutable_data_ptr<float>();
  if (in_dry_run()) {  // shapes alone
    packed.scales = at::empty({blocks}, at::kByte);
    packed.block_scales = at::empty({(blocks + nf4_scales_block - 1) / nf4_scales_block}, at::kFloat);
    return packed;
  }
  at::parallel_for(0, (count + at_once - 1) / at_once, 1, [&](int64_t first, int64_t last) {
    at::NoGradGuard no_grad;
    for (int64_t begin = first * at_once; begin < std::min(last * at_once, count); begin += at_once) {
      const int64_t n = std::min(at_once, count - begin);
      const at::Tensor floats = flat.narrow(0, begin, n).to(at::kFloat);
      quantize_nf4({floats.const_data_ptr<float>(), static_cast<size_t>(n)}, {codes + begin / 2, static_cast<size_t>(nf4_bytes(n))},
                   {scale + begin / nf4_block, static_cast<size_t>(nf4_blocks(n))});
    }
  });
  OneThread sums_in_one_order;
  const PackedScales twice = pack_scales({scale, static_cast<size_t>(blocks)}, scales.mean().item<float>());
  packed.mean = twice.mean;
  packed.scales = at::empty({blocks}, at::kByte);
  std::copy(twice.codes.begin(), twice.codes.end(), packed.scales.mutable_data_ptr<uint8_t>());
  packed.block_scales = at::empty({static_cast<int64_t>(twice.block_scales.size())}, at::kFloat);
  std::copy(twice.block_scales.begin(), twice.block_scales.end(), packed.block_scales.mutable_data_ptr<float>());
  return packed;
}

// From float16, as bitsandbytes does it, and with its roundings: by the reciprocal of the largest, times 127.
PackedWeight pack_int8(const at::Tensor& weight) {
  const int64_t rows = weight.size(0);
  const at::Tensor matrix = weight.reshape({rows, -1});
  const int64_t each = matrix.size(1), rows_at_once = std::max<int64_t>(1, (at_once << 4) / std::max<int64_t>(1, each));
  PackedWeight packed{PackedWeight::Form::int8, weight.sizes().vec(), at::empty({rows, each}, at::kChar), at::empty({rows}, at::kFloat), {}, 0};
  for (int64_t begin = 0; begin < rows && !in_dry_run(); begin += rows_at_once) {
    const int64_t n = std::min(rows_at_once, rows - begin);
    at::Tensor part = matrix.narrow(0, begin, n).to(at::kHalf).to(at::kFloat), largest = part.abs().amax(1);
    at::Tensor factor = (largest.reciprocal() * 127.0).masked_fill_(largest == 0, 0);
    packed.codes.narrow(0, begin, n).copy_(part.mul_(factor.unsqueeze(1)).round_());
    packed.scales.narrow(0, begin, n).copy_(largest);
  }
  return packed;
}

}  // namespace

int64_t PackedWeight::numel() const {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

std::vector<at::Tensor> PackedWeight::tensors() const {
  std::vector<at::Tensor> list;
  for (const at::Tensor& t : {codes, scales, block_scales})
    if (t.defined()) list.push_back(t);
  return list;
}

uint64_t PackedWeight::bytes() const {
  uint64_t sum = 0;
  for (const at::Tensor& t : tensors()) sum += t.nbytes();
  return sum;
}

std::optional<PackedWeight::Form> packed_form(const std::string& word) {
  if (word == "nf4") return PackedWeight::Form::nf4;
  if (word == "int8") return PackedWeight::Form::int8;
  return std::nullopt;
}

const char* packed_word(PackedWeight::Form form) { return form == PackedWeight::Form::nf4 ? "nf4" : "int8"; }

PackedWeight pack(const at::Tensor& weight, PackedWeight::Form form) {
  TORCH_CHECK(weight.is_cpu() && weight.dim() >= 2 && weight.is_floating_point(), "only weights of two dimensions or more are packed, in host memory");
  at::NoGradGuard no_grad;
  return form == PackedWeight::Form::nf4 ? pack_nf4(weight) : pack_int8(weight);
}

PackedWeight to_device(PackedWeight weight, at::Device device) {
  for (at::Tensor* t : {&weight.codes, &weight.scales, &weight.block_scales})
    if (t->defined()) *t = t->to(device);
  return weight;
}

at::Tensor unpacked(const PackedWeight& weight, at::ScalarType type) {
  at::NoGradGuard no_grad;
  const bool directly = type == at::kFloat || type == at::kBFloat16 || type == at::kHalf;
  at::Tensor out = at::empty(weight.shape, weight.codes.options().dtype(directly ? type : at::kFloat));
  if (weight.form == PackedWeight::Form::nf4) unpack_nf4(weight.codes, weight.scales, weight.block_scales, weight.mean, out);
  else unpack_int8(weight.codes, weight.scales, out);
  return directly ? out : out.to(type);
}

}  // namespace t2i
