#include "core/kernel/draw.h"
#include "core/plug/handle.h"
#include "core/plug/host.h"
#include "core/plug/services/services.h"

namespace t2i {
namespace {

int32_t uniform(t2i_tensor rng, const char* stream, const int64_t* per_sample, uint32_t ndim, t2i_tensor* out) {
  return guard([&] { *out = wrap(draw_uniform(unwrap(rng), stream, {per_sample, ndim})); });
}
int32_t normal(t2i_tensor rng, const char* stream, const int64_t* per_sample, uint32_t ndim, t2i_tensor* out) {
  return guard([&] { *out = wrap(draw_normal(unwrap(rng), stream, {per_sample, ndim})); });
}

}  // namespace

const t2i_rng_api* rng_service() {
  static const t2i_rng_api api{sizeof(t2i_rng_api), uniform, normal};
  return &api;
}

}  // namespace t2i
