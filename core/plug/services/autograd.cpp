// A plugin's forward and backward as one node of the graph. apply() takes an ArrayRef: inside a std::vector,
// torch::autograd::Function would not see the inputs and the node would silently get no gradient.
#include <torch/csrc/autograd/custom_function.h>

#include "core/model/block_run.h"
#include "core/plug/handle.h"
#include "core/plug/host.h"
#include "core/plug/services/services.h"

namespace t2i {
namespace {

using Forward = int32_t (*)(void*, const t2i_tensor*, uint32_t, t2i_tensor*);
using Backward = int32_t (*)(void*, const t2i_tensor*, uint32_t, t2i_tensor, t2i_tensor*);

// Owned by the graph node; drop runs exactly once, when the last owner goes.
struct Callbacks : torch::CustomClassHolder {
  Forward forward;
  Backward backward;
  void (*drop)(void*);
  void* ctx;
  Callbacks(Forward f, Backward b, void (*d)(void*), void* c) : forward(f), backward(b), drop(d), ctx(c) {}
  ~Callbacks() override {
    if (drop) drop(ctx);
  }
};

std::vector<t2i_tensor> borrow_all(const torch::autograd::variable_list& list) {
  std::vector<t2i_tensor> handles;
  for (const at::Tensor& t : list) handles.push_back(borrow(t));
  return handles;
}

struct PluginNode : torch::autograd::Function<PluginNode> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, at::ArrayRef<at::Tensor> inputs,
                            c10::intrusive_ptr<Callbacks> callbacks) {
    torch::autograd::variable_list in(inputs.begin(), inputs.end());
    ctx->save_for_backward(in);
    ctx->saved_data["callbacks"] = c10::IValue::make_capsule(callbacks);
    auto handles = borrow_all(in);
    t2i_tensor out = nullptr;
    int32_t rc = callbacks->forward(callbacks->ctx, handles.data(), static_cast<uint32_t>(handles.size()), &out);
    check_callback(rc);
    return take(out);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx, torch::autograd::variable_list grads) {
    auto callbacks = c10::static_intrusive_pointer_cast<Callbacks>(ctx->saved_data["callbacks"].toCapsule());
    auto saved = ctx->get_saved_variables();
    auto handles = borrow_all(saved);
    std::vector<t2i_tensor> out(saved.size(), nullptr);
    int32_t rc = callbacks->backward(callbacks->ctx, handles.data(), static_cast<uint32_t>(handles.size()), borrow(grads[0]), out.data());
    torch::autograd::variable_list result;
    for (t2i_tensor h : out) result.push_back(take(h));
    check_callback(rc);
    result.emplace_back();  // no gradient for the callbacks themselves
    return result;
  }
};

int32_t apply(Forward forward, Backward backward, void (*drop)(void*), void* ctx, const t2i_tensor* in, uint32_t n, t2i_tensor* out) {
  return guard([&] {
    if (BlockRun* run = BlockRun::current()) run->need_values();  // it keeps its inputs
    auto callbacks = c10::make_intrusive<Callbacks>(forward, backward, drop, ctx);
    std::vector<at::Tensor> inputs;
    for (uint32_t i = 0; i < n; ++i) inputs.push_back(unwrap(in[i]));
    *out = wrap(PluginNode::apply(at::ArrayRef<at::Tensor>(inputs), callbacks));
  });
}

}  // namespace

const t2i_autograd_api* autograd_service() {
  static const t2i_autograd_api api{sizeof(t2i_autograd_api), apply};
  return &api;
}

}  // namespace t2i
