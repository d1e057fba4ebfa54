// A model with a node of its own inside its block, whose backward is off by a factor of two.
#include "good_model.hpp"
struct WrongGradient : GoodModel {
  using GoodModel::GoodModel;
  static t2i::Tensor square(const t2i::Tensor& x) {
    t2i_tensor inputs[] = {x.get()}, squared = nullptr;
    auto forward = [](void*, const t2i_tensor* in, uint32_t, t2i_tensor* result) -> int32_t {
      return t2i::guard([&] { *result = (t2i::Tensor::borrow(in[0]) * t2i::Tensor::borrow(in[0])).give(); });
    };
    auto backward = [](void*, const t2i_tensor* in, uint32_t, t2i_tensor grad, t2i_tensor* grad_in) -> int32_t {
      return t2i::guard([&] { grad_in[0] = (t2i::Tensor::borrow(in[0]) * t2i::Tensor::borrow(grad)).give(); });
    };
    t2i::check(t2i::autograd->apply(forward, backward, nullptr, nullptr, inputs, 1, &squared));
    return t2i::Tensor(squared);
  }
  void forward(t2i::Named in, t2i::Sink out) {
    auto block = [this](auto x) { return square(body(x[0])); };
    out.put("prediction", last(t2i::run_block(scope, "middle", {told(in)}, block)));
  }
};
T2I_PLUGIN("bad.model_wrong_gradient", "1.0.0", "MIT",
           t2i::model<WrongGradient>("model_wrong_gradient", "a broken model"))
