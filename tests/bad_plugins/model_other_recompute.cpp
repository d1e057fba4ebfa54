// What its block does depends on how often it ran in this step: run again in backward, it is another function.
#include "good_model.hpp"
struct OtherRecompute : GoodModel {
  int runs = 0;
  using GoodModel::GoodModel;
  void forward(t2i::Named in, t2i::Sink out) {
    runs = 0;
    auto block = [this](auto x) { return ++runs == 1 ? body(x[0]) : body(x[0]) * 1.001; };
    out.put("prediction", last(t2i::run_block(scope, "middle", {told(in)}, block)));
  }
};
T2I_PLUGIN("bad.model_other_recompute", "1.0.0", "MIT",
           t2i::model<OtherRecompute>("model_other_recompute", "a broken model"))
