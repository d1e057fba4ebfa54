// Declares a weight that nothing uses.
#include "good_model.hpp"
struct UnusedWeight : GoodModel {
  using GoodModel::GoodModel;
  void build(std::string_view part, t2i::Scope s) {
    GoodModel::build(part, s);
    s.declare("spare.weight", {3});
  }
};
T2I_PLUGIN("bad.model_unused_weight", "1.0.0", "MIT", t2i::model<UnusedWeight>("model_unused_weight", "a broken model"))
