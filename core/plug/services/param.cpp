// Weights and the layers over them: the one place where adapters, quantised bases and shards come in later.
#include <ATen/ATen.h>

#include "core/kernel/dense.h"
#include "core/model/params.h"
#include "core/plug/handle.h"
#include "core/plug/host.h"
#include "core/plug/services/services.h"

namespace t2i {
namespace {

ParamStore& store(void* scope) { return *static_cast<ParamStore*>(scope); }

const at::Tensor& value(void* scope, t2i_param p) {
  TORCH_CHECK(p < store(scope).parameters.size(), "no parameter in slot ", p, " of ", store(scope).part);
  const Parameter& parameter = store(scope).parameters[p];
  TORCH_CHECK(parameter.value.defined(), "parameter ", parameter.name, " is used before ", store(scope).part, " is loaded");
  return parameter.value;
}

std::optional<at::Tensor> optional_value(void* scope, t2i_param p) {
  return p == T2I_NO_PARAM ? std::nullopt : std::optional(value(scope, p));
}

int32_t declare(void* scope, const char* name, const int64_t* shape, uint32_t ndim, const char* init, t2i_param* out) {
  return guard([&] { *out = store(scope).declare(name, {shape, shape + ndim}, init); });
}

int32_t get(void* scope, t2i_param p, t2i_tensor* out) {
  return guard([&] { *out = wrap(value(scope, p)); });
}

int32_t linear(void* scope, t2i_tensor x, t2i_param weight, t2i_param bias, t2i_tensor* out) {
  return guard([&] { *out = wrap(t2i::linear(unwrap(x), value(scope, weight), optional_value(scope, bias))); });
}

int32_t conv2d(void* scope, t2i_tensor x, t2i_param weight, t2i_param bias, int64_t stride, int64_t padding, int64_t dilation,
               int64_t groups, t2i_tensor* out) {
  return guard([&] {
    *out = wrap(t2i::conv2d(unwrap(x), value(scope, weight), optional_value(scope, bias), stride, padding, dilation, groups));
  });
}

}  // namespace

const t2i_param_api* param_service() {
  static const t2i_param_api api{sizeof(t2i_param_api), declare, get, linear, conv2d};
  return &api;
}

}  // namespace t2i
