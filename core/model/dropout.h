// Dropout whose draws are a function of who draws: (seed, step, sample) and the layer's name, as everything random
// (core/base/philox.h). So a block that is recomputed in backward, and a run that goes on from a checkpoint, drop the
// same.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

namespace t2i {

// While it lives, dropout() draws by these keys, one per sample: `rng` [n,3] as in sdk/NAMES.md. Of the whole process,
// not of a thread: backward of a GPU runs, and recomputes, on a thread of torch's own.
class DropoutScope {
  at::Tensor before_;

 public:
  explicit DropoutScope(at::Tensor rng);
  ~DropoutScope();
  DropoutScope(const DropoutScope&) = delete;
  DropoutScope& operator=(const DropoutScope&) = delete;
};

// x [n,...] with a share `p` of its elements zero and the others divided by 1-p, so that the mean stays. Outside of any
// scope, as in validation and when drawing, x itself.
at::Tensor dropout(const at::Tensor& x, double p, const std::string& name);

}  // namespace t2i
