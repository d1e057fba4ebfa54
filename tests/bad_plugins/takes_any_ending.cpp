// Finds its tensors by how their names begin, so that "prediction_of_tomorrow" is taken for "prediction".
#include "good.hpp"
struct TakesAnyEnding : Good {
  using Good::Good;
  static t2i::Tensor find(t2i::Named in, std::string_view beginning) {
    for (const t2i_named& item : in.items)
      if (std::string_view(item.name).starts_with(beginning)) return t2i::Tensor::borrow(item.tensor);
    t2i::fail("no tensor named '" + std::string(beginning) + "' here", T2I_E_MISSING);
  }
  void compute(t2i::Named in, t2i::Sink out) {
    out.put("loss_per_sample", t2i::squared_error(find(in, "prediction"), find(in, "target")));
  }
};
T2I_PLUGIN("bad.takes_any_ending", "1.0.0", "MIT", t2i::loss<TakesAnyEnding>("takes_any_ending", "a broken loss"))
