// Remembers its last answer from step to step, and with it the graph that made it: one handle only, but the node of the
// last step is never dropped.
#include "good.hpp"
static t2i::Tensor last;
struct KeepsAGraph : Good {
  using Good::Good;
  void compute(t2i::Named in, t2i::Sink out) {
    t2i::Tensor d = in["prediction"] - in["target"];
    t2i_tensor inputs[] = {d.get()}, squared = nullptr;
    auto forward = [](void*, const t2i_tensor* x, uint32_t, t2i_tensor* result) -> int32_t {
      return t2i::guard([&] { *result = (t2i::Tensor::borrow(x[0]) * t2i::Tensor::borrow(x[0])).give(); });
    };
    auto backward = [](void*, const t2i_tensor* x, uint32_t, t2i_tensor grad, t2i_tensor* grad_in) -> int32_t {
      return t2i::guard([&] { grad_in[0] = (t2i::Tensor::borrow(x[0]) * t2i::Tensor::borrow(grad) * 2.0).give(); });
    };
    t2i::check(t2i::autograd->apply(forward, backward, nullptr, nullptr, inputs, 1, &squared));
    last = t2i::Tensor(squared);
    out.put("loss_per_sample", t2i::mean_per_sample(last));
  }
};
T2I_PLUGIN("bad.keeps_a_graph", "1.0.0", "MIT", t2i::loss<KeepsAGraph>("keeps_a_graph", "a broken loss"))
