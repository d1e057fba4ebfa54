// t2i::adam8_update for CUDA tensors (core/kernel/adam8.cpp defines the op and its CPU half). Nothing here waits for the device.
#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "core/cuda/adam8.h"
#include "core/kernel/dynamic_codes.h"

namespace t2i {
namespace {

struct Tables {
  at::Tensor values, codes;  // of the first moment and behind them of the second: [2*256] float32, [2*65536] uint8
  Adam8Lookup lookup() const {
    const float* value = values.const_data_ptr<float>();
    const uint8_t* code = codes.const_data_ptr<uint8_t>();
    return {value, value + 256, code, code + code_places};
  }
};

// On each device once.
Adam8Lookup tables(at::Device device) {
  static std::mutex mutex;
  static auto* made = new std::map<c10::DeviceIndex, Tables>;  // never destroyed: the driver may be gone by then
  std::lock_guard lock(mutex);
  Tables& table = (*made)[device.index()];
  if (!table.values.defined()) {
    at::Tensor values = at::empty({2 * 256}, at::kFloat), codes = at::empty({2 * code_places}, at::kByte);
    std::ranges::copy(dynamic_values(), values.mutable_data_ptr<float>());
    std::ranges::copy(dynamic_unsigned_values(), values.mutable_data_ptr<float>() + 256);
    std::ranges::copy(dynamic_codes(), codes.mutable_data_ptr<uint8_t>());
    std::ranges::copy(dynamic_unsigned_codes(), codes.mutable_data_ptr<uint8_t>() + code_places);
    table = {values.to(device), codes.to(device)};
  }
  return table.lookup();
}

const float* scalar(const at::Tensor& t, at::Device device) {
  TORCH_CHECK(t.device() == device && t.scalar_type() == at::kFloat && t.numel() == 1, "a scalar of the update is float32 on ", device, ", got ",
              t.scalar_type(), " on ", t.device());
  return t.const_data_ptr<float>();
}

void adam8_update_cuda(at::Tensor& weights, const at::Tensor& grads, at::Tensor& mean_codes, at::Tensor& mean_scales, at::Tensor& square_codes,
                       at::Tensor& square_scales, const at::Tensor& step, const at::Tensor& grad_divisor, const at::Tensor& found_bad,
                       double learning_rate, double beta1, double beta2, double adam_epsilon, double weight_decay) {
  const at::Device device = weights.device();
  c10::cuda::CUDAGuard on_device(device);
  const Adam8DeviceJob all{{learning_rate, beta1, beta2, adam_epsilon, weight_decay},
                           scalar(step, device),
                           scalar(grad_divisor, device),
                           scalar(found_bad, device),
                           tables(device),
                           {weights.numel(),
                            0,
                            adam8_blocks(weights.numel()),
                            weights.mutable_data_ptr<float>(),
                            grads.const_data_ptr<float>(),
                            {mean_codes.mutable_data_ptr<uint8_t>(), mean_scales.mutable_data_ptr<float>()},
                            {square_codes.mutable_data_ptr<uint8_t>(), square_scales.mutable_data_ptr<float>()}}};
  C10_CUDA_CHECK(launch_adam8(all, c10::cuda::getCurrentCUDAStream()));
}

}  // namespace

TORCH_LIBRARY_IMPL(t2i, CUDA, m) { m.impl("adam8_update", adam8_update_cuda); }

}  // namespace t2i
