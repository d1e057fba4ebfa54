// Its table of single files leaves one layer out.
#include "good_model.hpp"
struct ForgetsAName : GoodModel {
  using GoodModel::GoodModel;
  const char* file_names() const {
    return R"({"unet": [{"prefixes": ["model."], "tensors": [["in.", "first."], ["out.", "last."]]}]})";
  }
};
T2I_PLUGIN("bad.model_forgets_a_name", "1.0.0", "MIT",
           t2i::model<ForgetsAName>("model_forgets_a_name", "a broken model"))
