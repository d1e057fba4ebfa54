// Mixed precision on a CPU that lacks the lower type's arithmetic (bfloat16 before AVX512-BF16 and AMX, float16 before
// AVX512-FP16 and AMX-FP16). There torch's own products take up to forty times as long as float32's. Here operands are
// rounded to the lower type, multiplied and summed in float32, and the result is rounded: what hardware with that
// arithmetic does, at float32's speed.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <optional>

namespace t2i {

// The type that a product with `operand` is wanted in, by autocast or because it is of that type, and that this
// processor cannot multiply in; none where all is well.
std::optional<at::ScalarType> rounded_type(const at::Tensor& operand);

// For tests: as if no processor had the arithmetic.
class RoundOnEveryProcessor {
 public:
  RoundOnEveryProcessor();
  ~RoundOnEveryProcessor();
};

// For the time of its life autocast changes nothing.
class WithoutAutocast {
  c10::impl::ExcludeDispatchKeyGuard guard_{c10::autocast_dispatch_keyset};
};

// Numbers of `type`, held in float32. Gradients pass, rounded likewise.
at::Tensor rounded(const at::Tensor& x, at::ScalarType type);

}  // namespace t2i
