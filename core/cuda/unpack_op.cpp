// t2i::unpack_nf4 and t2i::unpack_int8 for CUDA tensors (core/kernel/unpack.cpp defines the ops and their CPU half).
// Nothing here waits for the device.
#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <map>
#include <mutex>

#include "core/cuda/unpack.h"
#include "core/kernel/nf4.h"
#include "core/kernel/unpack.h"

namespace t2i {
namespace {

// The 16 values and behind them the 256 of scales, on each device once.
const float* tables(at::Device device) {
  static std::mutex mutex;
  static auto* made = new std::map<c10::DeviceIndex, at::Tensor>;  // never destroyed: the driver may be gone by then
  std::lock_guard lock(mutex);
  at::Tensor& table = (*made)[device.index()];
  if (!table.defined()) {
    at::Tensor host = at::empty({16 + 256}, at::kFloat);
    std::copy(nf4_values.begin(), nf4_values.end(), host.mutable_data_ptr<float>());
    std::copy(dynamic_values().begin(), dynamic_values().end(), host.mutable_data_ptr<float>() + 16);
    table = host.to(device);
  }
  return table.const_data_ptr<float>();
}

UnpackedAs type_of(const at::Tensor& out) {
  const at::ScalarType type = out.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16 || type == at::kHalf, "weights are not unpacked to ", type);
  TORCH_CHECK(out.is_contiguous(), "weights are unpacked into contiguous memory");
  return type == at::kFloat ? UnpackedAs::float32 : type == at::kBFloat16 ? UnpackedAs::bfloat16 : UnpackedAs::float16;
}

void unpack_nf4_cuda(const at::Tensor& codes, const at::Tensor& scales, const at::Tensor& block_scales, double mean, at::Tensor& out) {
  c10::cuda::CUDAGuard on_device(out.device());
  const bool twice = scales.scalar_type() == at::kByte;
  const int64_t blocks = nf4_blocks(out.numel());
  TORCH_CHECK(codes.numel() == nf4_bytes(out.numel()) && scales.numel() == blocks &&
                  (!twice || block_scales.numel() == (blocks + nf4_scales_block - 1) / nf4_scales_block),
              out.numel(), " weights do not fit ", codes.numel(), " bytes and ", scales.numel(), " scales");
  Nf4Job job;
  job.codes = codes.const_data_ptr<uint8_t>();
  job.twice = twice;
  if (twice) job.scale_codes = scales.const_data_ptr<uint8_t>();
  job.scales = (twice ? block_scales : scales).const_data_ptr<float>();
  job.mean = static_cast<float>(mean);
  job.values = tables(out.device());
  job.dynamic = job.values + 16;
  job.count = out.numel();
  C10_CUDA_CHECK(launch_unpack_nf4(job, type_of(out), out.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream()));
}

void unpack_int8_cuda(const at::Tensor& codes, const at::Tensor& scales, at::Tensor& out) {
  c10::cuda::CUDAGuard on_device(out.device());
  const int64_t rows = scales.numel();
  TORCH_CHECK(codes.numel() == out.numel() && rows > 0 && codes.numel() % rows == 0, out.numel(), " weights do not fit ", codes.numel(), " codes and ",
              rows, " scales");
  Int8Job job{codes.const_data_ptr<int8_t>(), scales.const_data_ptr<float>(), codes.numel(), codes.numel() / rows, int8_unit};
  C10_CUDA_CHECK(launch_unpack_int8(job, type_of(out), out.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream()));
}

}  // namespace

TORCH_LIBRARY_IMPL(t2i, CUDA, m) {
  m.impl("unpack_nf4", unpack_nf4_cuda);
  m.impl("unpack_int8", unpack_int8_cuda);
}

}  // namespace t2i
