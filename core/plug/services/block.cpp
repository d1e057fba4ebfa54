#include <ATen/ATen.h>

#include <cstring>

#include "core/model/block.h"
#include "core/model/block_swap.h"
#include "core/model/params.h"
#include "core/plug/handle.h"
#include "core/plug/host.h"
#include "core/plug/services/services.h"

namespace t2i {
namespace {

// How many blocks this thread is inside of.
thread_local int depth = 0;
struct Inside {
  Inside() { ++depth; }
  ~Inside() { --depth; }
};

using Body = int32_t (*)(void*, const t2i_tensor*, uint32_t, t2i_tensor*, uint32_t);

class Watched {
  const BlockWatch* watch_;

 public:
  Watched(const BlockWatch* watch, const char* name) : watch_(watch) {
    if (watch_) watch_->begins(name);
  }
  ~Watched() {
    if (watch_) watch_->ends();
  }
};

// Tells which block uses what.
class Looked {
  BlockSwap* swap_;

 public:
  explicit Looked(const ParamStore& store) : swap_(store.swap.get()) {
    if (swap_) swap_->block_begins();
  }
  ~Looked() {
    if (swap_) swap_->block_ends();
  }
};

// The plugin's body over tensors. `context` is a copy of the plugin's bytes: the caller's stack may be gone by then.
std::vector<at::Tensor> call_body(Body body, void* context, const std::vector<at::Tensor>& inputs, uint32_t n_out) {
  Inside inside;
  std::vector<t2i_tensor> in, out(n_out, nullptr);
  for (const at::Tensor& t : inputs) in.push_back(borrow(t));
  int32_t rc = body(context, in.data(), static_cast<uint32_t>(in.size()), out.data(), n_out);
  std::vector<at::Tensor> result;
  for (t2i_tensor h : out) result.push_back(take(h));
  check_callback(rc);
  return result;
}

int32_t run(void* scope, const char* name, Body body, const void* ctx, size_t ctx_bytes, const t2i_tensor* in, uint32_t n, t2i_tensor* out,
            uint32_t n_out) {
  ParamStore& store = *static_cast<ParamStore*>(scope);
  const Looked looked(store);
  if (!at::GradMode::is_enabled()) return body(const_cast<void*>(ctx), in, n, out, n_out);
  return guard([&] {
    const bool outermost = depth == 0;
    const Watched watched(outermost ? store.watch : nullptr, name);
    std::vector<at::Tensor> inputs;
    for (uint32_t i = 0; i < n; ++i) inputs.push_back(in[i] ? unwrap(in[i]) : at::Tensor());
    if (!outermost || !store.recompute.includes(store.blocks_met++)) {
      // A view of each input makes the block a boundary: what its inside adds to an input's gradient is summed before it
      // meets the rest, in the order that recomputing sums it, so both give the same bits.
      for (at::Tensor& x : inputs)
        if (x.defined() && x.requires_grad()) x = x.view_as(x);
      auto results = call_body(body, const_cast<void*>(ctx), inputs, n_out);
      for (uint32_t i = 0; i < n_out; ++i) out[i] = wrap(std::move(results[i]));
      return;
    }
    auto bytes = std::make_shared<std::vector<std::max_align_t>>(ctx_bytes / sizeof(std::max_align_t) + 1);
    std::memcpy(bytes->data(), ctx, ctx_bytes);
    auto results = run_recomputed(inputs, [body, bytes, n_out](const std::vector<at::Tensor>& args) {
      return call_body(body, bytes->data(), args, n_out);
    }, &store.recomputed_whole[name], store.offload);
    for (uint32_t i = 0; i < n_out; ++i) out[i] = wrap(std::move(results[i]));
  });
}

}  // namespace

const t2i_block_api* block_service() {
  static const t2i_block_api api{sizeof(t2i_block_api), run};
  return &api;
}

}  // namespace t2i
