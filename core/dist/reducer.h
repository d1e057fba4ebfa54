// Gradients summed over ranks while backward still runs. The flat gradient buffer is cut into buckets from its end (the
// layers that backward reaches first); a bucket's slice is reduced as soon as all its parameters have their gradient.
// Buckets start strictly in order, so every rank issues the same collectives.
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "core/dist/group.h"

namespace t2i {

struct ReducedParameter {
  at::Tensor value;      // a leaf whose .grad() is a view of the flat gradient
  int64_t offset = 0;    // in elements, in the flat gradient
  int64_t elements = 0;
};

class Reducer {
 public:
  Reducer(Group& group, at::Tensor flat_grad, std::vector<ReducedParameter> parameters, int64_t bucket_bytes = int64_t{25} << 20);
  ~Reducer();
  Reducer(const Reducer&) = delete;

  void arm();     // before the backward whose gradients complete the step
  void finish();  // after it: the flat gradient is then the mean over ranks

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace t2i
