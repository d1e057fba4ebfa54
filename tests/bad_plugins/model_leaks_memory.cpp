// Takes plain memory for a part that is built and never gives it back.
#include "good_model.hpp"
struct LeaksMemory : GoodModel {
  char* scratch = nullptr;
  using GoodModel::GoodModel;
  void build(std::string_view part, t2i::Scope s) {
    GoodModel::build(part, s);
    scratch = new char[20];
  }
};
T2I_PLUGIN("bad.model_leaks_memory", "1.0.0", "MIT", t2i::model<LeaksMemory>("model_leaks_memory", "a broken model"))
