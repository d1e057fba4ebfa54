#include <ATen/ATen.h>

#include "core/model/block_run.h"
#include "core/plug/handle.h"
#include "core/plug/host.h"
#include "core/plug/services/services.h"
#include "core/plug/step_scope.h"

namespace t2i {
namespace {

int32_t retain(t2i_tensor t, t2i_tensor* out) {
  return guard([&] { *out = wrap(unwrap(t)); });
}
void release(t2i_tensor t) { take(t); }

int32_t shape(t2i_tensor t, int64_t* dims, uint32_t capacity, uint32_t* ndim) {
  return guard([&] {
    auto sizes = unwrap(t).sizes();
    TORCH_CHECK(sizes.size() <= capacity, "a tensor of ", sizes.size(), " dimensions where at most ", capacity, " were expected");
    *ndim = static_cast<uint32_t>(sizes.size());
    std::copy(sizes.begin(), sizes.end(), dims);
  });
}

int32_t dtype(t2i_tensor t, int32_t* out) {
  *out = static_cast<int32_t>(unwrap(t).scalar_type());
  return T2I_OK;
}

int32_t item(t2i_tensor t, double* out) {
  return guard([&] {
    TORCH_CHECK(!in_step(), "item() waits for the device and is refused inside a training step: keep the value a tensor");
    if (BlockRun* run = BlockRun::current()) run->need_values();
    *out = unwrap(t).item<double>();
  });
}

// Host data is copied at once, so the caller's memory is free again when this returns.
template <class T>
int32_t from_host(const T* data, at::ScalarType type, const int64_t* dims, uint32_t ndim, t2i_tensor like, t2i_tensor* out) {
  return guard([&] {
    at::Tensor t = at::from_blob(const_cast<T*>(data), at::IntArrayRef(dims, ndim), at::TensorOptions().dtype(type)).clone();
    if (like) t = t.to(unwrap(like).device(), /*non_blocking=*/true);
    *out = wrap(t);
  });
}
int32_t from_f32(const float* data, const int64_t* dims, uint32_t ndim, t2i_tensor like, t2i_tensor* out) {
  return from_host(data, at::kFloat, dims, ndim, like, out);
}
int32_t from_i64(const int64_t* data, const int64_t* dims, uint32_t ndim, t2i_tensor like, t2i_tensor* out) {
  return from_host(data, at::kLong, dims, ndim, like, out);
}

}  // namespace

const t2i_tensor_api* tensor_service() {
  static const t2i_tensor_api api{sizeof(t2i_tensor_api), retain, release, shape, dtype, item, from_f32, from_i64};
  return &api;
}

}  // namespace t2i
