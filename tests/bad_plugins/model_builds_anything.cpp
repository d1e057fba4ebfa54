// Builds its one part whatever part it is asked for.
#include "good_model.hpp"
struct BuildsAnything : GoodModel {
  using GoodModel::GoodModel;
  void build(std::string_view, t2i::Scope s) { GoodModel::build("unet", s); }
};
T2I_PLUGIN("bad.model_builds_anything", "1.0.0", "MIT",
           t2i::model<BuildsAnything>("model_builds_anything", "a broken model"))
