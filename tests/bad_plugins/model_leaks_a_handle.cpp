// Retains a tensor at each forward and never releases it.
#include "good_model.hpp"
struct Leaks : GoodModel {
  using GoodModel::GoodModel;
  void forward(t2i::Named in, t2i::Sink out) {
    GoodModel::forward(in, out);
    in["latents"].give();
  }
};
T2I_PLUGIN("bad.model_leaks_a_handle", "1.0.0", "MIT", t2i::model<Leaks>("model_leaks_a_handle", "a broken model"))
