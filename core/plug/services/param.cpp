// Weights and the layers over them.
#include <ATen/ATen.h>

#include "core/model/block_run.h"
#include "core/model/block_swap.h"
#include "core/model/layer.h"
#include "core/model/packed.h"
#include "core/plug/handle.h"
#include "core/plug/host.h"
#include "core/plug/services/services.h"

namespace t2i {
namespace {

ParamStore& store(void* scope) { return *static_cast<ParamStore*>(scope); }

// The parameter in a slot, loaded. `bare`: the model is to compute with it on its own.
const Parameter& parameter(void* scope, t2i_param p, bool bare = false) {
  TORCH_CHECK(p < store(scope).parameters.size(), "no parameter in slot ", p, " of ", store(scope).part);
  const Parameter& found = store(scope).parameters[p];
  TORCH_CHECK(found.value.defined() || found.packed || found.swapped, "parameter ", found.name, " is used before ", store(scope).part, " is loaded");
  if (BlockRun* run = BlockRun::current(); run && (found.trainable || found.adapter)) run->uses_trained();
  if (found.swapped) found.swapped->uses(bare);
  return found;
}

// In which type and form it is held saves memory and is nothing that a model should see. A buffer comes as it is held: a
// table may be large, and only a part of it wanted.
at::Tensor as_tensor(const ParamStore& s, const Parameter& p) {
  if (p.swapped) return p.swapped->in(s.dtype).clone();  // the next block's weights may come to where it is
  if (p.packed) return unpacked(*p.packed, s.dtype);
  return p.trainable || p.init == "buffer" ? p.value : p.value.to(s.dtype);
}

const Parameter* optional_parameter(void* scope, t2i_param p) { return p == T2I_NO_PARAM ? nullptr : &parameter(scope, p); }

int32_t declare(void* scope, const char* name, const int64_t* shape, uint32_t ndim, const char* init, t2i_param* out) {
  return guard([&] { *out = store(scope).declare(name, {shape, shape + ndim}, init); });
}

int32_t get(void* scope, t2i_param p, t2i_tensor* out) {
  return guard([&] {
    const Parameter& found = parameter(scope, p, /*bare=*/true);
    // The plugin is to multiply by it on its own, and what is beside it would be lost in silence.
    TORCH_CHECK(!found.adapter, found.name, " has an adapter, but the model uses it otherwise than in a linear or convolution layer: leave it out of the targets");
    *out = wrap(as_tensor(store(scope), found));
  });
}

int32_t linear(void* scope, t2i_tensor x, t2i_param weight, t2i_param bias, t2i_tensor* out) {
  return guard([&] { *out = wrap(linear_layer(unwrap(x), parameter(scope, weight), optional_parameter(scope, bias))); });
}

int32_t conv2d(void* scope, t2i_tensor x, t2i_param weight, t2i_param bias, int64_t stride, int64_t padding, int64_t dilation,
               int64_t groups, t2i_tensor* out) {
  return guard([&] {
    *out = wrap(conv2d_layer(unwrap(x), parameter(scope, weight), optional_parameter(scope, bias), {stride, padding, dilation, groups}));
  });
}

}  // namespace

const t2i_param_api* param_service() {
  static const t2i_param_api api{sizeof(t2i_param_api), declare, get, linear, conv2d};
  return &api;
}

}  // namespace t2i
