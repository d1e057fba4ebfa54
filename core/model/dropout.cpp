#include "core/model/dropout.h"

#include <ATen/ATen.h>

#include "core/kernel/draw.h"

namespace t2i {

static at::Tensor& keys() {
  static at::Tensor rng;
  return rng;
}

DropoutScope::DropoutScope(at::Tensor rng) : before_(std::exchange(keys(), std::move(rng))) {}
DropoutScope::~DropoutScope() { keys() = std::move(before_); }

at::Tensor dropout(const at::Tensor& x, double p, const std::string& name) {
  const at::Tensor& rng = keys();
  if (p == 0 || !rng.defined()) return x;
  TORCH_CHECK(x.dim() > 1 && x.size(0) == rng.size(0), "the input of ", name, " has ", x.sizes(), " where the batch has ", rng.size(0),
              " samples: dropout needs one row per sample");
  at::Tensor kept;
  {
    at::NoGradGuard no_grad;
    kept = draw_uniform(rng, "dropout:" + name, x.sizes().slice(1)).ge(p).to(x.scalar_type()).mul_(1 / (1 - p));
  }
  return x * kept;
}

}  // namespace t2i
